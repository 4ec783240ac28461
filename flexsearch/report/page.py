"""Make one HTML page of a run that needs no network, to send to a colleague.

The page is made of `page.html.j2`, which takes in `page.css` and `page.js`; text is escaped there. Pictures and images
are inside the page.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from flexsearch.errors import UserError, cut
from flexsearch.files import write_atomically
from flexsearch.measurement import rounded
from flexsearch.paths import as_word
from flexsearch.report.claim import Claim, claim_of, headline
from flexsearch.report.evidence import config, costs, protocols, setting, space, versions
from flexsearch.report.front import Front
from flexsearch.report.front_chart import SHAPES, Chart
from flexsearch.report.galleries import facts, galleries, strips
from flexsearch.report.held_out import held_out_distance
from flexsearch.report.image_names import names_of
from flexsearch.report.palette import ON_DARK, role_colours
from flexsearch.report.points import FrontPoint, is_free, is_plain
from flexsearch.report.row import Row, three_digits
from flexsearch.report.run import Run
from flexsearch.report.schedule_picture import run_svg
from flexsearch.report.series import MOST_OTHERS, images_of, series_of
from flexsearch.report.table import confirmed_lines, front_frame, summary_lines
from flexsearch.schedule.plan import Plan
from flexsearch.schedule.role import ROLES, legend
from flexsearch.schedule.sampling import SAMPLING_LEGEND
from flexsearch.schedule.step import LEGEND_OF_STEPS
from flexsearch.study.evenly import evenly

MOST_DRAWN = 40
"""Schedules of the front whose pictures are in the page, evenly over latency; a picture takes about 0.1 s, and
the table has all."""
_NAMED = 10  # images to a row
_UNFOLDED = 3  # schedules
_WIDE, _NARROW = (1060, 520), (380, 430)  # charts, in pixels
_CONTENTS = {
    "front": "Distance against time",
    "points": "Points",
    "images": "Images",
    "schedules": "Schedules",
    "trials": "All trials",
    "setting": "What was searched",
    "trust": "How far to trust it",
    "protocol": "Protocols",
    "again": "Reproduce it",
}


def write_page(run: Run, front: Front, out: Path) -> None:
    """Write the page.

    Raises:
        UserError: `out` does not end in .html, or no trial is complete.
    """
    if out.suffix != ".html":
        raise UserError(f"must end in .html, but got {out.name!r}", field="OUT", nearest=f"{out.stem or 'report'}.html")
    write_atomically(out, render(run, front))


def render(run: Run, front: Front, *, version: str = "", every: int | None = None) -> str:
    """Make the page.

    Args:
        run: whose page it is.
        front: of the run.
        version: of what it shows, for a page that is served.
        every: seconds after which the page asks whether there is another version; None never does.

    Raises:
        UserError: no trial is complete.
    """
    if not front.complete:
        running = f"{front.counts['running']} running, {front.counts['pruned']} pruned"
        raise UserError(f"no trial is complete yet ({running}), so there is nothing to report", field=str(run.folder))
    environment = Environment(
        loader=PackageLoader("flexsearch.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["word"] = as_word
    sentence, found = headline(front.best_known, quality=front.objectives[0].name)
    claim, series = claim_of(front.best_known), series_of(front)
    drawn = {one.record.number: one for each in series for one in each.points}
    shown_rows = list(chain.from_iterable(front.sections))
    for row in shown_rows:
        drawn.setdefault(row.record.number, front.as_searched.by_number[row.record.number])
    rest = [one for one in front.as_searched.points if one.record.number not in drawn]
    drawn |= {one.record.number: one for one in evenly(rest, max(0, MOST_OTHERS - len(drawn)))}
    points = sorted(drawn.values(), key=lambda one: one.latency_ms)
    pictures, images = strips(run, front, points), list(galleries(run, front, found))
    best = None if found is None else found.record.number
    schedules = list(_schedules(run, front, first=best))
    columns, rows = _table(front, shown_rows)
    chart = _chart(front, claim)
    ended = max((record.ended for record in run.store.trials() if record.ended), default="")
    return environment.get_template("page.html.j2").render(
        name=front.study,
        version=version,
        every=every,
        quality=front.objectives[0],
        latency=front.objectives[-1],
        title=claim.title if claim is not None else "No searched schedule is ahead of what is free",
        sentence=sentence,
        byline=_byline(run, front, ended),
        best=best,
        figures=_figures(front, claim),
        contents=[(id, text) for id, text in _CONTENTS.items() if id != "images" or images],
        is_running=front.counts["running"] > 0,
        margin=front.best_known.quality_margin,
        ended=ended,
        held_out=chart.held_out,
        wide=chart.svg(width=_WIDE[0], height=_WIDE[1], name="wide"),
        narrow=chart.svg(width=_NARROW[0], height=_NARROW[1], name="narrow"),
        legend_of_chart=[(one.key, one.name, SHAPES.get(one.key)) for one in reversed(series) if one.points],
        colours=[(one.key, one.color, ON_DARK.get(one.color, one.color)) for one in series[1:]],
        columns=columns,
        rows=rows,
        budgets=[budget.printed for budget in front.budgets],
        attributions=[{**one.printed, "strip": one.strip} for one in front.attributions],
        strip_ends=_strip_ends(front),
        is_biased=front.is_biased,
        csv="data:text/csv;charset=utf-8," + quote(str(front_frame(front, only=drawn).to_csv(index=False))),
        confirmation=front.confirmation,
        confirmed_lines=confirmed_lines(front),
        galleries=images,
        names=[cut(name, 60) for name in names_of(run.settings)[:_NAMED]],
        legend=", ".join(legend(map(str, front.schedules))),
        legend_of_sampling=SAMPLING_LEGEND,
        legend_of_steps=LEGEND_OF_STEPS,
        roles={role: dict(zip(("fill", "text"), role_colours(role), strict=True)) for role in ROLES},
        schedules=schedules,
        has_more_schedules=len(schedules) > _UNFOLDED,
        is_wide=run.settings.shape.num_blocks > 16,
        trials_shown=[_trial(front, one, pictures) for one in points],
        num_strips=len(pictures),
        num_complete=len(front.complete),
        space=space(run),
        setting=setting(run),
        notes=summary_lines(front)[1:],
        costs=costs(front),
        protocols=protocols(front),
        config=config(run.folder / "config.yaml"),
        seed=run.search.seed,
        folder=run.folder.resolve().name,
        versions=versions(run),
    )


def _chart(front: Front, claim: Claim | None) -> Chart:
    quality, latency = front.objectives
    device, images = latency.protocol.get("device"), quality.protocol.get("images")
    if front.confirmation is not None:
        images = front.confirmation.images
    return Chart(
        series=series_of(front),
        front=front,
        claim=claim,
        held_out=None if front.is_at_infinity else held_out_distance(quality.protocol, images=int(images or 0)),
        across=f"latency ({latency.unit}){f', on {device}' if device else ''}",
        upright=f"{quality.name} ({images_of(front)})",
        told=lambda one: f"Trial {one.record.number}{_named(one)}: {facts(front, one.record.number)}",
    )


def _named(point: FrontPoint) -> str:
    return f", {point.record.baseline}" if point.record.baseline else ""


def _byline(run: Run, front: Front, ended: str) -> list[str]:
    """Say of what, on what, when, and from how much."""
    device = front.objectives[-1].protocol.get("device")
    base = f"{run.settings.base.checkpoint} on {run.settings.data.name}"
    counted = f"{front.counts['complete']} of {sum(front.counts.values())} trials complete"
    return [one for one in (base, device, ended[:10], counted) if one]


def _table(front: Front, rows: Sequence[Row]) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Give headings and rows, of what is known best."""
    quality, latency = front.objectives
    columns = {"faster": "speed-up at equal quality", "quality": quality.name, "latency": latency.unit, "macs": "MACs"}
    if front.is_compiled:
        columns |= {"latency": f"{latency.unit}, compiled", "eager": f"{latency.unit}, eager"}
    columns |= {name: name.replace("_", " ") for name in front.beside}
    if front.confirmation is not None:
        columns |= {"front_probability": "on the front", "verdict": "verdict"}
    found = []
    for row in rows:
        printed: dict[str, Any] = {
            **dict.fromkeys(columns, ""),
            **row.printed,
            "is_surely_faster": row.printed["verdict_of_speedup"] == "faster",
        }
        printed["latency"] += f" {printed['spread']}" if printed["spread"] else ""
        interval = printed["speedup_interval"]
        printed["faster"] = printed["speedup"] + (f" ({interval})" if interval else "")
        if (again := row.confirmed) is not None:
            printed["quality"] += f" ± {rounded((again.at_infinity or again.quality).half_width, 2)}"
        found.append(printed)
    return columns, found


def _trial(front: Front, point: FrontPoint, pictures: Mapping[int, Any]) -> dict[str, Any]:
    """Describe a trial for the list, and name the dense base at the nearest latency beside it."""
    record = point.record
    dense = [one for one in front.as_searched.dense if one.record.number in pictures]
    nearest = min(dense, key=lambda one: abs(one.latency_ms - point.latency_ms), default=None)
    schedule = "" if is_free(record) else f"{record.candidate.schedule} "
    return {
        "number": record.number,
        "name": record.baseline or "",
        "facts": schedule + facts(front, record.number),
        "quality": f"{point.distance:.6g}",
        "latency": f"{point.latency_ms:.6g}",
        "images": _images(front, point),
        "strip": pictures.get(record.number),
        "beside": None if nearest is None or is_plain(record) else nearest.record.number,
    }


def _strip_ends(front: Front) -> tuple[str, str] | None:
    """Give the latencies at both ends of the strips; None without strips."""
    parts = front.attributions[0].whole if front.attributions else ()
    return (three_digits(parts[0].start), three_digits(parts[-1].end)) if parts else None


def _images(front: Front, point: FrontPoint) -> str:
    """Say of how many images a distance is: others do not compare."""
    again = front.confirmation
    found = front.objectives[0].protocol.get("images")
    return str(again.images if again is not None and point.record.number in again.points else found)


def _figures(front: Front, claim: Claim | None) -> list[tuple[str, str]]:
    """List the few numbers at the top: value and what it is."""
    figures: list[tuple[str, str]] = []
    known, quality = front.best_known, front.objectives[0].name
    dense = max(known.dense, key=lambda one: one.latency_ms, default=None)
    if claim is not None:
        number = claim.point.record.number
        interval = f", {claim.speedup.interval} with 95 %" if claim.speedup.interval else ""
        figures.append((claim.speedup.symbol, f"as fast at equal {quality}{interval}: trial {number}"))
        beside = f"; the dense base at {_steps(dense)} steps takes {three_digits(dense.latency_ms)}" if dense else ""
        figures.append((f"{three_digits(claim.point.latency_ms)} ms", f"per image{beside}"))
        beside = f"; the dense base at {_steps(dense)} steps is at {dense.distance:.3g}" if dense else ""
        figures.append((f"{claim.point.distance:.3g}", f"{quality}, lower is better{beside}"))
    if front.costs:
        shared = sum(cost.seconds for cost in front.costs if ":" not in cost.what) / 60
        own = sum(cost.seconds for cost in front.costs) / 60 - shared
        figures.append((f"{own:.0f} min" if own >= 1 else f"{own * 60:.0f} s", _cost_of(front, shared)))
    return figures


def _cost_of(front: Front, shared: float) -> str:
    what = "of one device for the search" + (" and what was measured again" if front.confirmation else "")
    return what + (f"; {shared:.0f} more for what all trials share, which is kept" if shared >= 1 else "")


def _steps(point: FrontPoint) -> int:
    return point.record.candidate.sampling.steps


@lru_cache(maxsize=4 * MOST_DRAWN)
def _drawn(plan: Plan) -> Markup:
    return Markup(run_svg(plan))  # our own drawing; its text is digits and role names


def _schedules(run: Run, front: Front, *, first: int | None) -> Iterator[dict[str, Any]]:
    """Draw at most `MOST_DRAWN` of the front's points that were searched, and the paper's schedules beside them; first
    the one of the headline, then the fastest and the best."""
    known = [one.record for one in front.best_known.searched]
    drawn = {one.number: one for one in (*evenly(known, MOST_DRAWN), *front.paper)}
    ordered = [number for number in (first, known[-1].number, known[0].number) if number in drawn] if known else []
    ordered = list(dict.fromkeys([*ordered, *drawn]))
    for place, number in enumerate(ordered):
        yield {
            "number": number,
            "name": drawn[number].baseline or "",
            "facts": facts(front, number),
            "svg": _drawn(run.settings.search_space.plan(drawn[number].candidate)),
            "is_first": place < _UNFOLDED,
        }

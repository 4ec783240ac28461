"""Make one HTML page of a run that needs no network, to send to a colleague.

The page is made of `page.html.j2`; text is escaped there. Pictures, images and the plot's script are inside the page.
"""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from flexsearch import __version__
from flexsearch.errors import UserError
from flexsearch.files import write_atomically
from flexsearch.report.front import Front
from flexsearch.report.front_figure import front_figure
from flexsearch.report.gain import Gain, headline
from flexsearch.report.galleries import facts, galleries
from flexsearch.report.palette import ON_DARK, role_colours
from flexsearch.report.run import Run
from flexsearch.report.schedule_picture import run_svg
from flexsearch.report.series import series_of
from flexsearch.report.table import confirmed_lines, confirmed_rows, summary_lines
from flexsearch.schedule.role import ROLES, legend
from flexsearch.study.evenly import evenly

MOST_DRAWN = 40
"""Schedules of the front whose pictures are in the page, evenly over latency; a picture takes about 0.1 s, and
the table has all."""
_SMALL_COST = 0.005  # of the whole
_LIBRARIES = ("torch", "diffusers", "optuna", "torch-fidelity")


def write_page(run: Run, front: Front, out: Path) -> None:
    """Write the page.

    Raises:
        UserError: `out` does not end in .html, or no trial is complete.
    """
    if out.suffix != ".html":
        raise UserError(f"must end in .html, but got {out.name!r}", field="OUT", nearest=out.stem + ".html")
    write_atomically(out, render(run, front))


def render(run: Run, front: Front) -> str:
    """Make the page.

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
    claim, found = headline(front.best_known, quality=front.objectives[0].name)
    return environment.get_template("page.html.j2").render(
        name=front.study,
        quality=front.objectives[0],
        latency=front.objectives[1],
        claim=claim,
        best=None if found is None else found.point.record.number,
        figures=_figures(front, found),
        is_running=front.counts["running"] > 0,
        margin=front.best_known.quality_margin,
        ended=max((record.ended for record in run.store.trials() if record.ended), default=""),
        plot=_plot(front),
        rows=[row.printed for row in chain.from_iterable(front.sections)],
        confirmation=front.confirmation,
        again=[row.printed for row in confirmed_rows(front)],
        confirmed_lines=confirmed_lines(front),
        galleries=list(galleries(run, front, found)),
        legend=", ".join(legend()),
        roles={role: dict(zip(("fill", "text"), role_colours(role), strict=True)) for role in ROLES},
        schedules=list(_schedules(run, front)),
        is_wide=run.settings.shape.num_blocks > 16,
        plot_colours=[
            (place, one.color, ON_DARK.get(one.color, one.color)) for place, one in enumerate(series_of(front))
        ],
        space=_space(run),
        setting=_setting(run),
        notes=summary_lines(front)[1:],
        has_predicted_distances=bool(front.predicted_distances),
        has_found_free=bool(front.as_searched.found_free),
        noise=front.noise,
        costs=_costs(front),
        protocols=_protocols(front),
        config=_config(run.folder / "config.yaml"),
        seed=run.search.seed,
        trials=run.search.trials,
        folder=run.folder.name,
        versions=_versions(run),
    )


def _config(path: Path) -> str:
    """Read the configuration, but not where the study is kept: what earlier versions wrote has a password in it."""
    values = yaml.safe_load(path.read_text())
    values.pop("storage", None)
    return yaml.safe_dump(values, sort_keys=False)


def _figures(front: Front, found: Gain | None) -> list[tuple[str, str]]:
    """List the few numbers at the top: value and what it is."""
    figures, quality = [], front.objectives[0].name
    if found is not None and found.speedup is not None:
        steps = found.point.record.candidate.sampling.steps
        figures.append((f"{found.speedup:.2f}x", f"as fast as dense at the same {steps} steps"))
    if found is not None and found.quality is not None:
        figures.append((f"{found.quality:.3g}", f"lower {quality} than any free baseline, equal latency"))
    if found is not None and found.as_good_as is not None and found.as_good_as.record != found.point.record:
        steps = found.as_good_as.record.candidate.sampling.steps
        figures.append(
            (f"{found.speedup_as_good:.2f}x", f"as fast as dense at the {steps} steps that it is as good as")
        )
    if front.noise is not None:
        figures.append((f"{front.noise.paired:.2g}", f"paired noise of {quality} (sd over seeds)"))
    figures.append((str(sum(front.counts.values())), f"trials, {front.counts['complete']} of them to the end"))
    if front.costs:
        figures.append((f"{sum(cost.seconds for cost in front.costs) / 60:.1f}", "device minutes in all"))
    return figures


def _plot(front: Front) -> Markup:
    figure = front_figure(front)
    figure.update_layout(title=None, margin={"t": 36}, height=500)
    options = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": ["lasso2d", "select2d"]}
    # plotly's own output: its script, and our numbers and names as escaped JSON
    return Markup(
        figure.to_html(full_html=False, include_plotlyjs=True, config=options, div_id="front-plot", default_height=500)
    )


def _schedules(run: Run, front: Front) -> Iterator[dict[str, Any]]:
    """Draw at most `MOST_DRAWN` of the front's points that were searched, and the paper's schedules beside them."""
    for record in (*evenly(front.searched, MOST_DRAWN), *front.paper):
        yield {
            "number": record.number,
            "name": record.baseline or "",
            "facts": facts(front, record.number),
            # our own drawing; its text is digits and role names
            "svg": Markup(run_svg(run.settings.search_space.plan(record.candidate))),
        }


def _space(run: Run) -> dict[str, Any]:
    space = run.settings.search_space
    parameters = [(name, _domain_text(asdict(domain))) for name, domain in space.domains.items()]
    return {"parameters": parameters, "size": space.size}


def _domain_text(domain: Mapping[str, Any]) -> str:
    if "values" in domain:
        return "one of " + ", ".join(str(value) for value in domain["values"])
    step = "" if domain.get("step", 1) == 1 else f" in steps of {domain['step']}"
    return f"{domain['low']} to {domain['high']}{step}"


def _setting(run: Run) -> list[tuple[str, str]]:
    """Say in words what the search was run on."""
    settings, shape = run.settings, run.settings.shape
    stopping, warm = settings.early_stopping, settings.warm_start
    return [
        (
            "base",
            f"{settings.base.checkpoint} ({settings.base.backbone}), {shape.num_blocks} blocks of width "
            f"{shape.width} on {shape.grid} tokens",
        ),
        ("data", settings.data.title),
        ("warm start", "none: trials start from the base" if warm is None else f"{warm.updates} updates, shared"),
        ("each trial", f"{settings.trial.updates} updates of {settings.trial.batch} samples"),
        (
            "early stopping",
            "none"
            if stopping is None
            else f"at {', '.join(f'{rung:.0%}' for rung in stopping.rungs)} of the updates, {stopping.keep:.0%} go on",
        ),
        ("algorithm", f"{run.search.algorithm}, seed {run.search.seed}"),
        ("acquisition", "none" if run.search.pool_size == 1 else f"the best of {run.search.pool_size} candidates"),
    ]


def _costs(front: Front) -> list[tuple[str, float, float]]:
    """List what was spent on what: minutes, and the share of the largest; what is below `_SMALL_COST` is one line."""
    total = sum(cost.seconds for cost in front.costs)
    spent = {cost.what: cost.seconds for cost in front.costs if cost.seconds >= _SMALL_COST * total}
    ordered = sorted(spent.items(), key=lambda one: -one[1])
    if (rest := total - sum(spent.values())) > 0:
        ordered.append(("all else", rest))
    largest = max((seconds for _, seconds in ordered), default=1.0)
    return [(what, seconds / 60, seconds / largest) for what, seconds in ordered]


def _protocols(front: Front) -> list[tuple[str, Sequence[tuple[str, Any]]]]:
    """Say how every number was measured."""
    first = next(iter(front.complete.values()))
    found: list[tuple[str, Sequence[tuple[str, Any]]]] = [
        (f"{name} ({measured.unit})" if measured.unit != "1" else name, sorted(measured.protocol.items()))
        for name, measured in first.measurements.items()
    ]
    if front.confirmation is not None:
        for name, protocol in front.confirmation.protocols.items():
            seeds = ("seeds", ", ".join(map(str, front.confirmation.seeds)))
            found.append((f"{name}, measured again", sorted([*protocol.items(), seeds])))
    return found


def _versions(run: Run) -> list[tuple[str, str]]:
    """List the versions of what made this page, and of what began the search."""
    return [
        ("flexsearch, when the search began", run.store.version() or "unknown"),
        ("flexsearch, of this page", __version__),
        ("python", platform.python_version()),
        *((library, version(library)) for library in _LIBRARIES),
    ]

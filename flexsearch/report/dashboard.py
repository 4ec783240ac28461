"""Serve optuna-dashboard on a run: notes, images, the drawn schedule of every trial, the front with its baselines.

Publishing is idempotent: what is there already and has not changed is left alone.
"""

import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.style import context
from optuna_dashboard import get_note, save_note, wsgi
from PIL import Image

from flexsearch.errors import reading
from flexsearch.paths import as_word
from flexsearch.report.claim import beside_free, headline
from flexsearch.report.front import Front, front_of
from flexsearch.report.only_here import HOST, Application, listen
from flexsearch.report.plot import plot_front
from flexsearch.report.run import Run
from flexsearch.report.schedule_picture import STYLE, run_figure
from flexsearch.report.table import summary_lines
from flexsearch.report.trial_page import measured_again, measurement_cells
from flexsearch.schedule.step import LEGEND_OF_STEPS
from flexsearch.study.optuna_study import ARTIFACTS, OptunaStudy
from flexsearch.study.store import TrialRecord

_REFRESH_S = 10.0
_NOTE_PX = 720  # of images in notes
_SCHEDULE_DPI = 100
_PREVIEW, _SCHEDULE, _FRONT = "preview.png", "schedule.png", "front.png"


def optuna_study_of(run: Run) -> OptunaStudy:
    """Open the run's Optuna study."""
    return OptunaStudy(
        run.url,
        name=run.name,
        objectives=run.settings.objectives.labels,
        domains=run.settings.search_space.domains,
        settings=run.search,
    )


def publish(run: Run, optuna_study: OptunaStudy) -> None:
    """Bring notes and the picture of the front in the dashboard up to date with the results."""
    front = front_of(run.store, run.settings.objectives.names)
    if front.points:
        optuna_study.publish_picture(_FRONT, _front_png(front), folder=run.folder / ARTIFACTS)
    for record in run.store.trials():
        if record.measurements:
            body, trial = note(run, optuna_study, front, record), optuna_study.trial(record.number)
            if get_note(trial) != body:
                save_note(trial, body)
    body = study_note(run, front, picture=optuna_study.picture_url(_FRONT, folder=run.folder / ARTIFACTS))
    if get_note(optuna_study.study) != body:
        save_note(optuna_study.study, body)


def publish_images(run: Run, optuna_study: OptunaStudy) -> None:
    """Draw what the notes show, once: the schedule of every trial, and its samples if it has some."""
    folder = run.folder / ARTIFACTS
    for record in run.store.trials():
        samples = run.folder / "trials" / str(record.number) / "samples.png"
        pictures: dict[str, Callable[[], bytes]] = {}
        if record.state == "complete" and samples.exists():
            pictures[_PREVIEW] = partial(_preview_png, samples)
        if record.measurements:
            pictures[_SCHEDULE] = partial(_schedule_png, run, record)
        for name, draw in pictures.items():
            if optuna_study.picture_url(_picture(record, name), folder=folder) is None:
                optuna_study.publish_picture(_picture(record, name), draw(), folder=folder)


def _front_png(front: Front) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / _FRONT
        plot_front(front, path)
        return path.read_bytes()


def _picture(record: TrialRecord, name: str) -> str:
    return f"trial-{record.number}-{name}"


def _preview_png(samples: Path) -> bytes:
    """Fit samples to the width of a note: enlarged by whole pixels, or scaled down."""
    written = io.BytesIO()
    with Image.open(samples) as image:
        width, height = image.size
        factor = max(1, _NOTE_PX // width)
        size = (width * factor, height * factor)
        if width > _NOTE_PX:
            size = (_NOTE_PX, round(height * _NOTE_PX / width))
        method = Image.Resampling.LANCZOS if width > _NOTE_PX else Image.Resampling.NEAREST
        image.convert("RGB").resize(size, method).save(written, format="PNG")
    return written.getvalue()


def _schedule_png(run: Run, record: TrialRecord) -> bytes:
    written = io.BytesIO()
    with context(STYLE):
        run_figure(run.settings.search_space.plan(record.candidate)).savefig(written, format="png", dpi=_SCHEDULE_DPI)
    return written.getvalue()


def note(run: Run, optuna_study: OptunaStudy, front: Front, record: TrialRecord) -> str:
    """Describe a trial in Markdown: its gain, schedule and samples, measurements, and the protocol of each."""
    title = f"{record.baseline}: {record.candidate}" if record.baseline else str(record.candidate)
    parts = [f"### {title}", " ".join(_score(front, record))]
    for name, caption in (
        (
            _SCHEDULE,
            f"Above, steps from noise to data: {LEGEND_OF_STEPS}. Below, blocks across, stages of diffusion time down; "
            "in each cell the grid of tokens that leaves the block, pale where not computed.",
        ),
        (_PREVIEW, "The first images that were scored; every trial draws them from the same noise and labels."),
    ):
        url = optuna_study.picture_url(_picture(record, name), folder=run.folder / ARTIFACTS)
        if url is not None:
            parts += [f"![{name}]({url})", f"*{caption}*"]
    parts += [_measured(record), *measured_again(front, record.number), _protocols(front, record)]
    if record.state == "complete":
        parts.append(f"```\nflexsearch export {as_word(run.folder)} {record.number} exported\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def _measured(record: TrialRecord) -> str:
    rows = [
        f"| {name} | {value} | {unit} |" for name, value, unit, _ in measurement_cells(record.measurements.values())
    ]
    return "\n".join(["#### Measured", "", "| | value | unit |", "|---|---|---|", *rows])


def _protocols(front: Front, record: TrialRecord) -> str:
    """Give the objectives' protocols as one table; those of other measurements as a list."""
    names = [objective.name for objective in front.objectives if objective.name in record.measurements]
    protocols = [record.measurements[name].protocol for name in names]
    rows = [
        f"| {key} | " + " | ".join(str(one.get(key, "")) for one in protocols) + " |"
        for key in sorted({key for one in protocols for key in one})
    ]
    lines = [
        f"- {found.name}: " + ", ".join(f"{key} {value}" for key, value in sorted(found.protocol.items()))
        for name, found in record.measurements.items()
        if name not in names
    ]
    if rows:
        rows = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|", *rows]
    return "\n\n".join(["#### How it was measured", *("\n".join(part) for part in (rows, lines) if part)])


def _score(front: Front, record: TrialRecord) -> list[str]:
    """Say its state, and how it compares with what is free."""
    if record.state != "complete":
        return [f"**{record.state}**" + (f": {record.reason}." if record.reason else ".")]
    if record.number not in front.complete:
        return ["Measured under another protocol than most trials: it is not on the front."]
    lines = [
        "**On the front.**"
        if record.number in front.on_front
        else "Not on the front: another trial is better and faster."
    ]
    return [*lines, *beside_free(front, record.number)]


def study_note(run: Run, front: Front, *, picture: str | None) -> str:
    """Describe the study in Markdown: the claim, the front, what it rests on, and the protocol of both objectives."""
    if not front.complete:
        return f"### {front.study}\n\nNo trial is complete yet.\n"
    facts = [f"- {line}" for line in summary_lines(front)[1:]]
    tables = []
    for objective in front.objectives:
        unit = "" if objective.unit in ("", "1") else f" ({objective.unit})"
        rows = [f"| {key} | {value} |" for key, value in sorted(objective.protocol.items())]
        tables.append("\n".join([f"| {objective.name}{unit}, minimised | |", "|---|---|", *rows]))
    page = f"One page to send on: `flexsearch report {as_word(run.folder)} {as_word(f'{run.folder.name}.html')}`"
    claim, _ = headline(front.best_known, quality=front.objectives[0].name)
    shown = [] if picture is None else [f"![{_FRONT}]({picture})"]
    return "\n\n".join([f"### {claim}", *shown, "\n".join(facts), *tables, page]) + "\n"


def for_study(application: Application, *, study: str, may_write: bool) -> Application:
    """Open the dashboard on a study's note, and refuse what would change anything, unless that is asked for."""

    def answer(request: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if request["REQUEST_METHOD"] not in ("GET", "HEAD") and not may_write:
            start("403 Forbidden", [("Content-Type", "application/json")])
            return [b'{"reason": "read only: flexsearch dashboard RUN --write lets the page change the study"}']
        if request["PATH_INFO"].rstrip("/") in ("", "/dashboard"):
            start("302 Found", [("Location", study), ("Cache-Control", "no-store")])
            return []
        return application(request, start)

    return answer


def serve(run: Run, *, port: int, may_write: bool) -> None:
    """Serve until interrupted; keep up to date with a search that is still running.

    Raises:
        UserError: the port is taken, or the run has lost its study.
    """
    optuna_study = optuna_study_of(run)
    with reading(run.folder, rule="has no whole study"):
        publish(run, optuna_study)
    images = optuna_study.artifacts(run.folder / ARTIFACTS)
    application = wsgi(optuna_study.storage, artifact_store=images)
    server = listen(for_study(application, study=optuna_study.page_path, may_write=may_write), port=port)
    print(f"serving {run.folder} at http://{HOST}:{server.server_port}/ (Ctrl-C ends it)", file=sys.stderr, flush=True)
    seen = None  # drawing many schedules takes a while, in which the page is there already
    while True:
        found = (run.store.trials(), run.store.confirmations(), run.store.costs())
        if found != seen:
            with reading(run.folder, rule="has no whole study any more"):
                publish_images(run, optuna_study)
                publish(run, optuna_study)
            seen = found
        time.sleep(_REFRESH_S)

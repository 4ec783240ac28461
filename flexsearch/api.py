"""flexsearch from Python: search, open a run, look at it, take a model. What a command ends with is an exception here.

import flexsearch

run = flexsearch.search("quickstart", trials=40, out="runs/mine")
run.front()  # a data frame
run.plot()  # a matplotlib figure
run.export(run.choose(knee=True), "exported")
"""

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flexsearch.errors import UserError

if TYPE_CHECKING:  # reading a run waits for none of them
    import pandas as pd
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from flexsearch.report.choice import Choice
    from flexsearch.report.run import Run
    from flexsearch.study.executor import ExecutorName

_SHOWN = ("trial", "schedule", "sampling", "baseline")


def search(
    space: str | Path | Mapping[str, Any],
    *,
    trials: int | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    executor: "ExecutorName" = "auto",
    storage: str | None = None,
    ray_address: str | None = None,
    hours: float | None = None,
    start_from: str | Path | None = None,
    progress: bool = True,
    **overrides: Any,
) -> "SearchRun":
    """Search a space, or go on where the same call was interrupted.

    Args:
        space: a YAML file, the name of a shipped space, or the values of one.
        trials: finished trials to reach; None takes the space's.
        seed: of search algorithm, training and noise; None takes the space's.
        out: run directory; None takes `runs/NAME`.
        executor: "local", "ray", or "auto".
        storage: SQLAlchemy URL of the study; None takes FLEXSEARCH_STORAGE, else a file in the run directory.
        ray_address: of a running Ray cluster.
        hours: after which nothing new is tried, so early that what follows fits in.
        start_from: another run directory: its results are taken where the protocol is the same, else the schedules of
            its front are tried first.
        progress: whether stderr, or the notebook, shows how it goes; `OUT/run.log` does anyhow.
        overrides: fields of the space, `__` for a dot: `trial__updates=30` is `trial.updates`.

    Raises:
        UserError: something that the caller can mend.
        KeyboardInterrupt: the same call goes on.
    """
    from rich.console import Console

    from flexsearch.cli.run import search_into
    from flexsearch.cli.terminal import open_terminal
    from flexsearch.config import load_config

    named = {"search.trials": trials, "search.seed": seed, "storage": storage}
    given = {key.replace("__", "."): value for key, value in overrides.items()}
    given |= {key: value for key, value in named.items() if value is not None}
    changes = [f"{key}={json.dumps(value)}" for key, value in given.items()]
    config = load_config(space if isinstance(space, Mapping) else Path(space), changes)
    folder = Path("runs") / config.name if out is None else Path(out)
    terminal = open_terminal(stderr=True) if progress else Console(quiet=True)
    search_into(
        folder,
        config,
        storage=storage,
        executor=executor,
        ray_address=ray_address,
        hours=hours,
        start_from=None if start_from is None else Path(start_from),
        terminal=terminal,
    )
    return open_run(folder)


def open_run(folder: str | Path) -> "SearchRun":
    """Open a run directory, also of a search that is going on.

    Raises:
        UserError: it is not one, or its database holds no study.
    """
    from flexsearch.cli.results import open_run as opened

    return SearchRun(run=opened(Path(folder)))


@dataclass(frozen=True, kw_only=True)
class SearchRun:
    """A run and what it has found so far; every call reads it again."""

    run: "Run"

    @property
    def folder(self) -> Path:
        """The run directory."""
        return self.run.folder

    @property
    def _front(self) -> Any:
        from flexsearch.cli.results import front_of_run

        return front_of_run(self.run)

    def trials(self) -> "pd.DataFrame":
        """Give every complete trial, one row each; the columns are those of `front.csv`."""
        from flexsearch.report.table import front_frame

        return front_frame(self._front)

    def front(self) -> "pd.DataFrame":
        """Give the Pareto front, fastest first."""
        found = self.trials()
        return found if found.empty else found[found["on_front"]].sort_values("latency_ms").reset_index(drop=True)

    def attribution(self) -> "pd.DataFrame":
        """Give what each axis owns of the front and the share of the hypervolume that is lost without it, a row each.

        It is an observation of the trials that were made, no ablation.
        """
        import pandas as pd

        return pd.DataFrame([one.to_dict() for one in self._front.attributions])

    def plot(self) -> "Figure":
        """Draw the front."""
        from flexsearch.report.plot import front_picture

        return front_picture(self._front)

    def images(self, trial: int) -> "Image":
        """Open the grid of images that a trial has drawn; equal places of two trials are from equal noise.

        Raises:
            UserError: there is no such trial, or it has drawn none.
        """
        from PIL import Image

        record = self.run.trial(trial)
        path = self.folder / "trials" / str(trial) / "samples.png"
        if not path.exists():
            raise UserError(f"trial {trial} is {record.state} and has no images", field="trial")
        with Image.open(path) as image:
            return image.copy()

    def choose(
        self,
        *,
        max_latency_ms: float | None = None,
        max_quality: float | None = None,
        knee: bool = False,
    ) -> "Choice":
        """Choose a trial by exactly one of three rules; `flexsearch.report.choice.reasons` says why.

        Raises:
            UserError: not exactly one rule is given, or no trial keeps it.
        """
        from flexsearch.report.choice import choose

        return choose(self._front, max_latency_ms=max_latency_ms, max_quality=max_quality, knee=knee)

    def export(self, trial: "int | Choice", out: str | Path) -> Path:
        """Write a trial's model into a new folder, rebuilt and compared, and give the folder.

        Raises:
            UserError: the trial has no model, or the folder exists.
        """
        from flexsearch.export.model import export_trial

        number = trial if isinstance(trial, int) else trial.point.record.number
        for _ in export_trial(self.run, number, Path(out)):
            pass
        return Path(out)

    def _repr_html_(self) -> str:
        """Show the front in a notebook: a picture and a table."""
        front = self.front()
        heading = (
            f"<p><b>{escape(self.run.name)}</b>, {len(self.trials())} complete trials in {escape(str(self.folder))}</p>"
        )
        if front.empty:
            return heading
        picture = io.BytesIO()
        self.plot().savefig(picture, format="png", dpi=110)
        source = base64.b64encode(picture.getvalue()).decode()
        columns = [*(name for name in _SHOWN if name in front), *self.run.settings.objectives.names]
        table = front[columns].to_html(index=False, na_rep="", float_format="{:.4g}".format, border=0)
        return f'{heading}<img alt="Pareto front" width="720" src="data:image/png;base64,{source}">{table}'

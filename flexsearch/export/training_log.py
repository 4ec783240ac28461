"""The log of a training run: `training.csv`, `evaluations.json`, and an experiment tracker if asked.

Both files are cut back to the checkpoint when a run resumes: later updates are done again.
"""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flexsearch.diffusion.training import Step
from flexsearch.export.processes import Processes
from flexsearch.export.recipe import Recipe
from flexsearch.files import write_atomically
from flexsearch.measurement import Measurement
from flexsearch.tracking import Tracker, open_tracker

TRAINING_LOG = "training.csv"
EVALUATIONS = "evaluations.json"

Evaluations = dict[int, list[Measurement]]


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """The log record of one update.

    Attributes:
        update: updates done so far.
        loss: of the whole batch; None before the first update.
        images_per_s: of all processes together, since the last record.
        measured: quality of the averaged weights, where it was measured after this update.
    """

    update: int
    loss: float | None = None
    images_per_s: float | None = None
    measured: tuple[Measurement, ...] = ()


class TrainingLog:
    """The log of one run, written by its first process alone.

    Args:
        out: folder of the run.
        recipe: what is trained.
        processes: this process and its peers.
        report: called with every record.
        resumed_at: updates of the checkpoint that the run goes on from; 0 begins a new log.
    """

    def __init__(
        self,
        out: Path,
        recipe: Recipe,
        processes: Processes,
        report: Callable[[TrainingRecord], None],
        *,
        resumed_at: int,
    ) -> None:
        self.out, self.recipe, self.processes, self.report = out, recipe, processes, report
        self.evaluations: Evaluations = {}
        self.tracker = Tracker()
        self.columns = ["update", "loss", "learning_rate", "images_per_s", *recipe.objectives.quality.names]
        if processes.is_first:
            self.evaluations = {
                at: found for at, found in read_evaluations(out).items() if resumed_at and at <= resumed_at
            }
            kept = [row for row in read_log(out) if resumed_at and int(row["update"]) <= resumed_at]
            lines = [self.columns, *([row[name] for name in self.columns] for row in kept)]
            write_atomically(out / TRAINING_LOG, "".join(",".join(line) + "\n" for line in lines))
            about = {"schedule": str(recipe.chosen), "base": recipe.base.checkpoint}
            self.tracker = open_tracker(recipe.training.log, folder=out / "logs", title=out.resolve().name, about=about)

    def add(self, step: Step, measured: Sequence[Measurement], *, learning_rate: float, seconds: float) -> None:
        """Log one update, which took `seconds`, and the metrics after it. Update 0 is the start, without training."""
        if not self.processes.is_first:
            return
        values = {found.name: found.value for found in measured}
        if step.update:
            speed = self.recipe.training.batch / seconds
            values |= {"loss": step.loss, "learning_rate": learning_rate, "images_per_s": round(speed, 2)}
        if measured:
            self.evaluations[step.update] = list(measured)
            kept = [
                {"update": at, "measured": [one.to_dict() for one in found]} for at, found in self.evaluations.items()
            ]
            write_atomically(self.out / EVALUATIONS, json.dumps(kept, indent=2))
        row: Mapping[str, float] = {"update": step.update, **values}
        with (self.out / TRAINING_LOG).open("a", encoding="utf-8") as file:
            file.write(",".join(str(row.get(name, "")) for name in self.columns) + "\n")
        self.tracker.log(values, step=step.update)
        self.report(
            TrainingRecord(
                update=step.update,
                loss=values.get("loss"),
                images_per_s=values.get("images_per_s"),
                measured=tuple(measured),
            )
        )


def read_log(out: Path) -> list[dict[str, str]]:
    """Read the lines of a run's `training.csv`, but for a last one that a crash cut short."""
    path = out / TRAINING_LOG
    if not path.exists():
        return []
    *whole, _ = path.read_text(encoding="utf-8").split("\n")
    return list(csv.DictReader(whole))


def read_evaluations(out: Path) -> Evaluations:
    """Read the metrics of a run, by updates done."""
    path = out / EVALUATIONS
    if not path.exists():
        return {}
    rows = json.loads(path.read_text(encoding="utf-8"))
    return {row["update"]: [Measurement.from_dict(found) for found in row["measured"]] for row in rows}

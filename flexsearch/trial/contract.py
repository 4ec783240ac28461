"""Say what crosses a process boundary: the order for a trial, its progress, and its result. JSON values only."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from flexsearch.measurement import Measurement
from flexsearch.old_names import MEASUREMENTS
from flexsearch.schedule.candidate import Candidate

Kind = Literal["trial", "repeat"]
Phase = Literal["prepare", "latency", "fine-tune", "rung", "sample", "score"]
State = Literal["complete", "pruned", "infeasible", "failed"]


@dataclass(frozen=True, kw_only=True)
class TrialOrder:
    """One trial to run.

    Attributes:
        number: the trial's number in the study; also its folder `trials/<number>`.
        candidate: what to evaluate.
        run_dir: the run directory.
        seed: of training stream and sampling noise; equal for all trials of a study, so that they are paired.
        study: identity of the study, which its files carry.
        baseline: its name, if this trial is a baseline; baselines are never gated.
        fine_tune: whether the trial fine-tunes; the dense base does as a baseline alone.
        kind: a "trial"; or a "repeat": the quality alone of one that has ended, under another seed.
    """

    number: int
    candidate: Candidate
    run_dir: Path
    seed: int
    study: str = ""
    baseline: str | None = None
    fine_tune: bool = True
    kind: Kind = "trial"

    @property
    def trains(self) -> bool:
        """Whether weights are trained, if a run trains any."""
        return self.fine_tune and (self.baseline is not None or not self.candidate.schedule.is_dense)

    @property
    def trial_dir(self) -> Path:
        """Where the trial leaves its files; a repeat has a folder below its trial's."""
        folder = self.run_dir / "trials" / str(self.number)
        return folder if self.kind == "trial" else folder / f"seed-{self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values; `from_dict` is the inverse."""
        return {**vars(self), "candidate": self.candidate.to_dict(), "run_dir": str(self.run_dir)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrialOrder":
        """Build an order from JSON values."""
        candidate, run_dir = Candidate.from_dict(values["candidate"]), Path(values["run_dir"])
        return cls(**{**values, "candidate": candidate, "run_dir": run_dir})


@dataclass(frozen=True, kw_only=True)
class Rung:
    """How good a trial was after some of its fine-tuning updates.

    Attributes:
        updates: fine-tuning updates.
        quality: the first objective, by the images of a rung; the smaller the better.
        paired_distance: of the samples, as earlier versions measured it here; None since.
    """

    updates: int
    quality: float
    paired_distance: float | None = None

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.quality)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Rung":
        """Build a rung from JSON values."""
        return cls(**{MEASUREMENTS.get(name, name): value for name, value in values.items()})


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What a trial found.

    Attributes:
        state: "complete" has a value for every objective; "infeasible" broke a limit and was not trained; "pruned" was
            stopped early; "failed" ended in an error.
        measurements: everything that was measured, objectives among them, by name.
        constraints: name to value; a value of at most 0 is feasible. Every trial has all of them.
        curve: (update, loss) pairs of the fine-tune; empty if the weights are those of an earlier trial.
        rungs: measured on the way, in order.
        seconds: wall time per phase.
        lost_seconds: wall time of earlier attempts that were cut short, as far as they have left it.
        reason: one sentence for the states other than "complete"; of a complete trial, whose weights it has if it did
            not train them itself.
    """

    state: State
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    constraints: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[tuple[int, float], ...] = ()
    rungs: tuple[Rung, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    lost_seconds: float = 0.0
    reason: str | None = None

    def if_finite(self) -> "TrialResult":
        """Give this result; or, where a number of it is not finite, a failed one of those that are."""
        bad = next((name for name, value in self._numbers() if not math.isfinite(value)), None)
        if bad is None:
            return self
        reason = self.reason if self.state == "failed" else f"{bad} is not finite"
        return replace(
            self,
            state="failed",
            measurements={name: one for name, one in self.measurements.items() if one.is_finite},
            constraints={name: value for name, value in self.constraints.items() if math.isfinite(value)},
            curve=tuple(point for point in self.curve if math.isfinite(point[1])),
            rungs=tuple(rung for rung in self.rungs if rung.is_finite),
            reason=reason,
        )

    def _numbers(self) -> Iterator[tuple[str, float]]:
        """List what a result consists of, by what it is called in a reason."""
        yield from (
            (name, value) for name, one in self.measurements.items() for value in (one.value, one.spread or 0.0)
        )
        yield from self.constraints.items()
        yield from ((f"the loss after update {update}", loss) for update, loss in self.curve)
        for rung in self.rungs:
            yield f"the quality at the rung of {rung.updates} updates", rung.quality

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values; `from_dict` is the inverse."""
        values = asdict(self)
        values["measurements"] = {name: found.to_dict() for name, found in self.measurements.items()}
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrialResult":
        """Build a result from JSON values."""
        measured = [Measurement.from_dict(found) for found in values["measurements"].values()]
        measurements = {found.name: found for found in measured}
        curve = tuple((int(update), float(loss)) for update, loss in values["curve"])
        rungs = tuple(Rung.from_dict(rung) for rung in values["rungs"])
        return cls(**{**values, "measurements": measurements, "curve": curve, "rungs": rungs})


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a running trial is: `done` of `total` steps of `phase`.

    Attributes:
        so_far: at a rung, the result if the trial goes no further; its state is "pruned".
    """

    phase: Phase
    done: int = 0
    total: int = 0
    so_far: TrialResult | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values; `from_dict` is the inverse."""
        return {**asdict(self), "so_far": None if self.so_far is None else self.so_far.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Progress":
        """Build a progress from JSON values."""
        so_far = values["so_far"]
        return cls(**{**values, "so_far": None if so_far is None else TrialResult.from_dict(so_far)})


Report = Callable[[Progress], bool]
"""Takes a trial's progress; at a rung, False tells it to end."""
RunTrial = Callable[[TrialOrder, Report], TrialResult]

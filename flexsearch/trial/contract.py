"""What crosses a process boundary: the order for a trial, its progress, and its result. JSON values only."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from flexsearch.measurement import Measurement
from flexsearch.schedule.density import Candidate

Phase = Literal["prepare", "latency", "fine-tune", "sample", "score"]
State = Literal["complete", "pruned", "infeasible", "failed"]


@dataclass(frozen=True, kw_only=True)
class TrialOrder:
    """One trial to run.

    Attributes:
        number: the trial's number in the study; also its folder `trials/<number>`.
        candidate: what to evaluate.
        run_dir: the run directory.
        seed: of training stream and sampling noise; equal for all trials of a study, so that they are paired.
        baseline: its name, if this trial is a baseline; baselines are never gated.
        fine_tuned: whether the trial fine-tunes; the dense base is evaluated as it is.
        is_repetition: measure only the quality again, under another seed, to learn the noise.
    """

    number: int
    candidate: Candidate
    run_dir: Path
    seed: int
    baseline: str | None = None
    fine_tuned: bool = True
    is_repetition: bool = False

    @property
    def trial_dir(self) -> Path:
        """Where the trial leaves its files; a repetition has a folder of its own below its trial's."""
        folder = self.run_dir / "trials" / str(self.number)
        return folder / f"seed-{self.seed}" if self.is_repetition else folder

    def to_dict(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "candidate": self.candidate.to_dict(),
            "run_dir": str(self.run_dir),
            "seed": self.seed,
            "baseline": self.baseline,
            "fine_tuned": self.fine_tuned,
            "is_repetition": self.is_repetition,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrialOrder":
        candidate, run_dir = Candidate.from_dict(values["candidate"]), Path(values["run_dir"])
        return cls(**{**values, "candidate": candidate, "run_dir": run_dir})


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a running trial is: `done` of `total` steps of `phase`."""

    phase: Phase
    done: int = 0
    total: int = 0


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What a trial found.

    Attributes:
        state: "complete" has a value for every objective; "infeasible" broke a limit and was not trained; "pruned" was
            stopped early; "failed" ended in an error.
        measurements: everything that was measured, objectives among them, by name.
        constraints: name to value; a value of at most 0 is feasible. Every trial has all of them.
        curve: (update, loss) pairs of the fine-tune.
        seconds: wall time per phase.
        reason: one sentence for the states other than "complete".
    """

    state: State
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    constraints: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[tuple[int, float], ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        values["measurements"] = {name: found.to_dict() for name, found in self.measurements.items()}
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrialResult":
        measurements = {name: Measurement.from_dict(found) for name, found in values["measurements"].items()}
        curve = tuple((int(update), float(loss)) for update, loss in values["curve"])
        return cls(**{**values, "measurements": measurements, "curve": curve})


Report = Callable[[Progress], None]
RunTrial = Callable[[TrialOrder, Report], TrialResult]

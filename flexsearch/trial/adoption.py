"""Take the results of another run's trials in place of running them again, where nothing that decides them differs.

Torch is imported where a trial runs, and not where a search begins.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from flexsearch.files import link_or_copy, read_json
from flexsearch.trial.contract import Report, RunTrial, TrialOrder, TrialResult
from flexsearch.trial.result_file import RESULT, write_result
from flexsearch.trial.settings import TrialSettings, load_settings
from flexsearch.trial.shared_files import SharedFiles, teacher_outputs_digest, warm_start_digest

_LATENCY = "latency_ms"


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """What may be taken from another run.

    Attributes:
        folder: its run directory.
        numbers: of its complete trials, by the candidate's digest; none where another protocol measured them.
    """

    folder: Path
    numbers: Mapping[str, int]

    def before(self, run_trial: RunTrial) -> RunTrial:
        """Look for a result here before a trial is run."""
        return partial(_run, adopted=self, run_trial=run_trial)


def protocol_of(settings: TrialSettings, *, seed: int) -> dict[str, Any]:
    """Give what decides the result of a candidate's trial beside its hardware; JSON values."""
    return {
        **{name: value for name, value in settings.to_dict().items() if name != "space"},
        "warm_start": warm_start_digest(settings) if settings.warm_start is not None else None,
        "teacher": teacher_outputs_digest(settings, seed=seed),
        "reference_steps": settings.reference_steps,
        "seed": seed,
    }


def share_files(theirs: Path, ours: Path) -> None:
    """Link what trials of another run share but their weights: each file carries a digest of what it depends on."""
    for file in (theirs / "base").glob("*-*"):
        here = ours / "base" / file.name
        if file.is_file() and not here.exists() and not file.name.startswith((".", "device")):
            link_or_copy(file, here)


def _run(order: TrialOrder, report: Report, *, adopted: Adopted, run_trial: RunTrial) -> TrialResult:
    is_base = order.trains and order.candidate.schedule.is_dense  # fine-tuned: its digest is the plain one's
    number = adopted.numbers.get(order.candidate.digest) if order.kind == "trial" and not is_base else None
    theirs, settings = adopted.folder / "trials" / str(number), load_settings(order.run_dir)
    found = None if number is None else _result(theirs, settings)
    if found is None:
        return run_trial(order, report)
    from flexsearch.trial.weights import adopt_weights

    for file in (*theirs.glob("*.png"), *theirs.glob("model/*")):
        link_or_copy(file, order.trial_dir / file.relative_to(theirs))
    schedule = order.candidate.schedule
    trains = order.trains and not settings.is_free
    weights = SharedFiles.of(order.run_dir, settings).weights(settings, schedule, seed=order.seed, trains=trains)
    adopt_weights(adopted.folder / "base" / weights.name, weights, trial=order.number)
    result = replace(found, reason=f"adopted from trial {number} of {adopted.folder}")
    write_result(order, result)
    return result


def _result(folder: Path, settings: TrialSettings) -> TrialResult | None:
    """Read what a trial has left; None where it cannot be taken, or was timed on other hardware."""
    try:
        values = read_json(folder / RESULT)
        found = TrialResult.from_dict({name: value for name, value in values.items() if name != "of"})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    from flexsearch.latency.hardware import hardware_of
    from flexsearch.trial.device import trial_device

    here = hardware_of(trial_device(), settings.objectives.latency)
    latency = found.measurements.get(_LATENCY)
    is_alike = latency is not None and all(latency.protocol.get(name) == value for name, value in here.items())
    return found if is_alike and found.state == "complete" else None

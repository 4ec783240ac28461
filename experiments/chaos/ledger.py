"""The ledger of a search as values that two searches can be compared by: what does not depend on how long things took.

Latencies and costs differ from run to run. So may which of the trials of a schedule trained it, for the others.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna

from flexsearch.config import open_config
from flexsearch.study.storage import connect, storage_url
from flexsearch.study.store import Store

_REL = 2.0**-20
"""Features are float32, and another process may sum them in another order."""
_OF_TIME = ("latency_ms",)


def read_ledger(run_dir: Path, storage: str | None) -> dict[str, Any]:
    """Read everything that is decided and recorded of a run.

    Args:
        run_dir: the run directory.
        storage: URL of its database; None is the file in the run directory.
    """
    config, url = open_config(run_dir), storage_url(run_dir, storage)
    engine = connect(url)
    store = Store(engine, study=config.name, seed=config.search.seed)
    trials = optuna.load_study(study_name=config.name, storage=url).get_trials(deepcopy=False)
    records = store.trials()
    ledger = {
        "wanted": config.search.trials,
        "asked": {
            trial.number: {
                "state": trial.state.name,
                "parameters": dict(trial.params),
                "digest": trial.user_attrs.get("digest"),
                "baseline": trial.user_attrs.get("baseline"),
                "quality": None if trial.values is None else trial.values[0],
            }
            for trial in trials
        },
        "recorded": {
            record.number: {
                "state": record.state,
                "digest": record.digest,
                "baseline": record.baseline,
                "measured": {name: one.value for name, one in record.measurements.items() if name not in _OF_TIME},
            }
            for record in records
        },
        "trained": {one.candidate.schedule.digest: store.curve(one.number) for one in records if one.num_updates},
        "rungs": {
            one.number: [(rung.updates, rung.quality) for rung in one.rungs] for one in records if one.num_updates
        },
        "repeated": store.repetitions(config.objectives.names[0]),
    }
    engine.dispose()
    return ledger


FaultKind = Literal["lost", "twice", "running", "waiting", "budget"]


@dataclass(frozen=True)
class Fault:
    """What no ledger of a finished search may have."""

    kind: FaultKind
    text: str


def faults_of(ledger: Mapping[str, Any]) -> Iterator[Fault]:
    """Find the faults of a ledger, whatever search it is of."""
    asked, recorded = ledger["asked"], ledger["recorded"]
    for number, trial in asked.items():
        if trial["state"] in ("RUNNING", "WAITING"):
            yield Fault(trial["state"].lower(), f"trial {number} is {trial['state']}")
    for number, row in recorded.items():
        if row["state"] == "running":
            yield Fault("running", f"trial {number} is running")
    for number in sorted(asked.keys() ^ recorded.keys()):
        yield Fault("lost", f"trial {number} is in one of the two alone")
    counted = [row for row in recorded.values() if row["state"] in ("complete", "pruned")]
    if len(counted) != ledger["wanted"]:
        yield Fault("budget", f"{len(counted)} trials are finished, of {ledger['wanted']}")
    if len({row["digest"] for row in counted}) != len(counted):
        yield Fault("twice", "a candidate is evaluated twice")
    names = [row["baseline"] for row in recorded.values() if row["baseline"] is not None]
    if len(set(names)) != len(names):
        yield Fault("twice", "a baseline is evaluated twice")


def differences(whole: Any, disturbed: Any, place: str = "") -> Iterator[str]:
    """Name every place where two ledgers differ."""
    if isinstance(whole, Mapping) and isinstance(disturbed, Mapping):
        for key in sorted(whole.keys() | disturbed.keys(), key=str):
            if key in whole and key in disturbed:
                yield from differences(whole[key], disturbed[key], f"{place} {key}".strip())
            elif place != "rungs":  # of the trials of a schedule, another one may have trained it
                yield f"{place} {key}: {'lost' if key in whole else 'new'}"
    elif isinstance(whole, list | tuple) and isinstance(disturbed, list | tuple) and len(whole) == len(disturbed):
        for index, pair in enumerate(zip(whole, disturbed, strict=True)):
            yield from differences(*pair, f"{place}[{index}]")
    elif isinstance(whole, float) and isinstance(disturbed, float):
        if not math.isclose(whole, disturbed, rel_tol=_REL):
            yield f"{place}: {whole!r}, but {disturbed!r}"
    elif whole != disturbed:
        yield f"{place}: {whole!r}, but {disturbed!r}"

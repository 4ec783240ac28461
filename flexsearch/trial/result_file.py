"""Files in a trial's folder that outlive its process: `result.json`, and `seconds.json` while the trial runs.

Both name the study, the schedule and the seed that they belong to: folders stay where databases are replaced. What
cannot be read, or belongs to another trial, is not there.
"""

from typing import Any, get_args

from flexsearch.files import read_json, write_json
from flexsearch.trial.contract import State, TrialOrder, TrialResult

RESULT, _SECONDS = "result.json", "seconds.json"


def write_result(order: TrialOrder, result: TrialResult) -> None:
    """Leave the result of a trial, and no seconds: these are in it."""
    _write(order, RESULT, result.to_dict())
    (order.trial_dir / _SECONDS).unlink(missing_ok=True)


def read_result(order: TrialOrder) -> TrialResult | None:
    """Read the result that a trial has left; None where there is none."""
    values = _read(order, RESULT)
    try:
        result = None if values is None else TrialResult.from_dict(values)
    except (TypeError, ValueError, KeyError, AttributeError):
        return None
    return result if result is not None and result.state in get_args(State) else None


def write_seconds(order: TrialOrder, seconds: float) -> None:
    """Leave what a trial has cost so far."""
    _write(order, _SECONDS, {"seconds": seconds})


def lost_seconds(order: TrialOrder) -> float:
    """Read what the attempts at a trial that were cut short have cost, as far as they have left it."""
    seconds = (_read(order, _SECONDS) or {}).get("seconds")
    return float(seconds) if isinstance(seconds, int | float) else 0.0


def _owner(order: TrialOrder) -> dict[str, Any]:
    return {"study": order.study, "digest": order.candidate.digest, "seed": order.seed}


def _write(order: TrialOrder, name: str, values: dict[str, Any]) -> None:
    write_json(order.trial_dir / name, {"of": _owner(order), **values})


def _read(order: TrialOrder, name: str) -> dict[str, Any] | None:
    try:
        values = read_json(order.trial_dir / name)
    except (OSError, ValueError):
        return None
    return values if values.pop("of", None) == _owner(order) else None

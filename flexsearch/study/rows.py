"""Rows of the study's tables: how measurements, costs, rungs and candidates are written as columns and read again."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from flexsearch.measurement import Measurement
from flexsearch.old_names import MEASUREMENTS, protocol_as_of_today
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.fields import declared
from flexsearch.schedule.sampling import Sampling
from flexsearch.trial.contract import Rung, TrialResult

_CUT_SHORT = "cut short"  # beside the phases: attempts at a trial that a kill has ended
_STEPS = f', "{declared(Sampling)[0].key}": '  # in the text of a candidate


def measurement_row(found: Measurement) -> dict[str, Any]:
    """Write a measurement as columns."""
    return {**found.to_dict(), "protocol": json.dumps(dict(found.protocol), sort_keys=True)}


def cost_rows(what: str, result: TrialResult) -> list[dict[str, Any]]:
    """List the seconds of each phase under `what`, in which {} stands for the phase."""
    seconds = dict(result.seconds)
    if result.lost_seconds:
        seconds[_CUT_SHORT] = result.lost_seconds
    return [{"what": what.format(phase), "seconds": value, "device": ""} for phase, value in seconds.items()]


def rung_row(rung: Rung) -> dict[str, Any]:
    """Write what was measured on the way as columns."""
    return {"update_": rung.updates, "quality": rung.quality, "paired_distance": rung.paired_distance}


def measurement_of(name: str, value: Any, unit: str, spread: Any, protocol: str) -> Measurement:
    """Read a measurement, as it is named and told today."""
    name, unit, how = _measured_as(name, unit, protocol)
    value, spread = float(value), None if spread is None else float(spread)  # SQLite keeps text there, too
    return Measurement(name=name, value=value, unit=unit, spread=spread, protocol=how)


def candidate_of(text: str) -> Candidate:
    """Read a candidate; many share a schedule or a sampling, which is read once. In the text, which is parsed for no
    other, the sampling begins with its steps, behind the schedule."""
    head, steps, tail = text.partition(_STEPS)
    if not steps or any(key in tail for key in ('"segments": ', '"timetable": ')):
        return Candidate.from_dict(json.loads(text))
    return Candidate(schedule=_schedule(f"{head}}}"), sampling=_sampling(f"{{{_STEPS[2:]}{tail}"))


@lru_cache(maxsize=1 << 12)
def _schedule(text: str) -> DensitySchedule:
    return DensitySchedule.from_dict(json.loads(text))


@lru_cache(maxsize=1 << 12)
def _sampling(text: str) -> Sampling:
    return Sampling.from_dict(json.loads(text))


@lru_cache(maxsize=1 << 10)
def _measured_as(name: str, unit: str, protocol: str) -> tuple[str, str, Mapping[str, Any]]:
    """Give name, unit and protocol as of today, which most trials of a study share."""
    return MEASUREMENTS.get(name, name), unit, protocol_as_of_today(json.loads(protocol))

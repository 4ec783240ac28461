"""Read settings and results under the names that they had in earlier versions.

One table for search spaces, run directories, databases, recipes and results, so that what was written once stays
readable. What is written carries today's names only.
"""

import copy
import warnings
from collections.abc import Mapping
from typing import Any

from flexsearch.errors import UserError

SETTINGS = {
    "objectives.fid": "objectives.quality",
    "search.sampler": "search.algorithm",
    "search.screen": "search.pool",
}
"""Dotted keys of a configuration, old to new."""

_REPORTED = "; objectives.quality.report: [paired_distance] measures it"
GONE = {
    "search.long_schedules": "",
    "search.long_factor": "",
    "objectives.quality.drift": _REPORTED,
    "objectives.quality.paired_distance": _REPORTED,
}
"""Dotted keys of a configuration that mean nothing any more, and what is there in their place; they are left out."""

MEASUREMENTS = {"drift": "paired_distance"}
"""Names of measurements, old to new."""

MACS_PER_FORWARD = "MACs/forward"
"""Unit of MACs in the first versions."""


class OldName(FutureWarning):
    """Say that a file uses an old key, and name the new one if there is one."""


def with_new_names(values: Mapping[str, Any], *, quiet: bool = False) -> dict[str, Any]:
    """Copy a configuration with today's keys, without those that are gone; warn once for every old one.

    Args:
        values: a configuration, as YAML or JSON gives it.
        quiet: do not warn: the user did not write it.

    Raises:
        UserError: an old key and its new one are both given.
    """
    renamed = copy.deepcopy(dict(values))
    for old, new in SETTINGS.items():
        *parents, last = old.split(".")
        place = _mapping_at(renamed, parents)
        if place is None or last not in place:
            continue
        value = place.pop(last)
        *parents, last = new.split(".")
        target = _mapping_at(renamed, parents)
        assert target is not None, "a key is renamed within its section"
        if last in target:
            raise UserError(f"is the old name of {new}, but got both", field=old, nearest=new)
        target[last] = value
        if not quiet:
            warnings.warn(f"{old} is called {new} now", OldName, stacklevel=2)
    for old, instead in GONE.items():
        *parents, last = old.split(".")
        place = _mapping_at(renamed, parents)
        if place is None or last not in place:
            continue
        del place[last]
        if not quiet:
            warnings.warn(f"{old} does nothing any more, and may be deleted{instead}", OldName, stacklevel=2)
    return renamed


def as_it_was_written(values: Mapping[str, Any]) -> dict[str, Any]:
    """Read a configuration that flexsearch itself wrote: today's keys, and the sigma spacing that it ran with.

    In the first versions there was one spacing, which no file names: what `set_timesteps(n)` makes by itself.
    """
    renamed = with_new_names(values, quiet=True)
    if "sampling" in renamed:
        renamed["sampling"] = {"spacing": "scheduler", **renamed["sampling"]}
    return renamed


def protocol_as_of_today(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """Read a stored protocol: in the first versions the scheduler's class was in it, and the spacing was not."""
    scheduler = protocol.get("sampler")
    spacing = {"spacing": "scheduler"} if scheduler == "FlowMatchEulerDiscreteScheduler" else {}
    return {**{key: value for key, value in protocol.items() if key != "sampler"}, **spacing}


def macs_of_an_image(macs: float, *, steps: int, guidance: float) -> float:
    """Count the MACs of an image from those of its average forward pass of one row, the unit of the first versions.

    Args:
        macs: of the average forward pass.
        steps: sampler steps.
        guidance: scale; other than 1 every step has two rows.
    """
    return macs * steps * (1 if guidance == 1.0 else 2)


def _mapping_at(values: dict[str, Any], path: list[str]) -> dict[str, Any] | None:
    place: Any = values
    for name in path:
        place = place.get(name) if isinstance(place, dict) else None
    return place if isinstance(place, dict) else None

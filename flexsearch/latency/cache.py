"""Latency profiles on disk: kept for every run, and found again by all that decides them. Needs no torch.

A profile belongs to a model, to how images are drawn (batch, guidance, dtype, threads, scheduler), to the families,
sparse grids and searched sampling of a space, to the hardware and to the version of torch. It serves every number of
sampler steps.
"""

import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.errors import Note, UserError, reading
from flexsearch.files import write_atomically
from flexsearch.latency.axes import Axes
from flexsearch.latency.profile import LatencyProfile
from flexsearch.latency.settings import LatencySettings
from flexsearch.measurement import short_digest
from flexsearch.models.settings import BaseSettings
from flexsearch.paths import cache_folder
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.timetable import Timetable
from flexsearch.space.search_space import SearchSpace

_FORMAT = 2
"""Of the file: raised when its fields change."""


def profile_key(
    base: BaseSettings, space: SearchSpace, *, settings: LatencySettings, sampling: SamplingSettings
) -> str:
    """Identify all that decides a profile but the machine. How often something is timed does not."""
    axes = Axes.of_space(space).to_dict()
    return short_digest(
        {
            "format": _FORMAT,
            "base": [base.backbone, base.checkpoint, base.revision, *([] if base.dtype == "fp32" else [base.dtype])],
            **({} if base.offload is None else {"offload": base.offload}),
            "shape": asdict(space.target.shape),
            "scheduler": space.target.clock.scheduler,
            "sampling": sampling.facts,
            "batch": settings.batch,
            "families": sorted({segment.kind.family for segment in space.segments}),
            "grids": [one.to_dict() for one in sparse_timetables(space)],
            **({"axes": axes} if axes else {}),
            **({"text": "once per image"} if space.target.shape.text_tokens else {}),
        }
    )


def load_profile(key: str, hardware: Callable[[], Mapping[str, Any]]) -> LatencyProfile | None:
    """Find a profile.

    Args:
        key: of `profile_key`.
        hardware: says what of the machine decides a time; asked only where there is a profile of some machine.

    Returns:
        None where there is none, or one that is damaged or too far off, which a note names.
    """
    if not any(cache_folder("profiles").glob(f"{key}-*.json")):
        return None
    path = _path(key, hardware())
    if not path.exists():
        return None
    try:
        with reading(path, advice="it is left alone: flexsearch profile makes another"):
            found = LatencyProfile.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except UserError as error:
        warnings.warn(str(error), Note, stacklevel=2)
        return None
    if not found.is_sound:
        warnings.warn(
            f"no latency is predicted: the profile {path} {found.accuracy}; flexsearch profile makes another",
            Note,
            stacklevel=2,
        )
        return None
    return found


def save_profile(profile: LatencyProfile, key: str, hardware: Mapping[str, Any]) -> Path:
    """Keep a profile that was made on this hardware, in place of an older one; give its file."""
    path = _path(key, hardware)
    write_atomically(path, json.dumps(profile.to_dict(), indent=2))
    return path


def sparse_timetables(space: SearchSpace, others: Iterable[DensitySchedule] = ()) -> list[Timetable]:
    """Give a timetable of one stage per sparse grid of the space, and of `others`, fewest tokens first."""
    grids = {(side, one.timetable.frames) for one in others for stage in one.module_sides for side in stage}
    found = {Timetable(grids=(side,), frames=frames) for side, frames in space.sparse_grids() | grids}
    return sorted(found, key=lambda one: (space.grid.pooled(one.grids[0], one.frames).num_tokens, str(one.grids)))


def _path(key: str, hardware: Mapping[str, Any]) -> Path:
    return cache_folder("profiles") / f"{key}-{short_digest(hardware)}.json"

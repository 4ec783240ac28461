"""The latency profile of a search space on this device: kept for every run, and found again by all that decides it.

A profile belongs to a model, to how images are drawn (batch, guidance, dtype, threads), to the grids and sampler steps
of a space, to the hardware and to the version of torch. Looking for one imports torch only where there is one for the
same model and space, to learn whether the machine is the same too.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flexsearch.files import write_atomically
from flexsearch.measurement import short_digest
from flexsearch.objectives.composed_latency import LatencyProfile
from flexsearch.paths import cache_folder
from flexsearch.schedule.roles import COSTS
from flexsearch.space.search_space import SearchSpace
from flexsearch.trial.settings import TrialSettings

SparseGrid = tuple[int, int | None]
"""Tokens along the shorter side, and frames or None, as a `Timetable` has them."""

_FORMAT = 1
"""Of the file: raised when its fields change."""


def load_profile(settings: TrialSettings) -> LatencyProfile | None:
    """The profile of these settings on this device; None where there is none."""
    kept = [path.name for path in cache_folder("profiles").glob("*.json")]
    if not kept:
        return None
    model = _model_digest(settings)
    if not any(name.startswith(model) for name in kept):
        return None
    path = _path(settings, model)
    return LatencyProfile.from_dict(json.loads(path.read_text())) if path.exists() else None


def save_profile(profile: LatencyProfile, settings: TrialSettings) -> Path:
    """Keeps a profile that was made on this device, in place of an older one; returns its file."""
    path = _path(settings, _model_digest(settings))
    write_atomically(path, json.dumps(profile.to_dict(), indent=2))
    return path


def hardware_of(settings: TrialSettings) -> dict[str, Any]:
    """What of the machine decides a time: device, CPU threads, torch, and whether graphs are compiled."""
    import torch

    from flexsearch.objectives.latency import cpu_threads, device_name
    from flexsearch.trial.device import trial_device

    with cpu_threads(settings.objectives.latency.threads):
        device = device_name(trial_device())
    return {"device": device, "torch": torch.__version__, "compile": False}


def sparse_grids(space: SearchSpace) -> list[SparseGrid]:
    """The sparse grids of every timetable of the space, fewest tokens first; none in a space without sparse tokens."""
    if all(segment.family != "sdtm" for segment in space.segments):
        return []
    found = {(side, timetable.frames) for timetable in space.timetables() for side in timetable.grids}
    return sorted(found, key=lambda one: space.grid.pooled(*one).num_tokens)


def _path(settings: TrialSettings, model: str) -> Path:
    return cache_folder("profiles") / f"{model}-{short_digest(hardware_of(settings))}.json"


def _model_digest(settings: TrialSettings) -> str:
    """Identifies all that decides a profile but the machine. How often something is timed does not."""
    space = settings.search_space
    further = sorted(space.roles() & COSTS.keys())
    return short_digest(
        {
            **({"roles": further} if further else {}),
            "format": _FORMAT,
            "base": [settings.base.backbone, settings.base.checkpoint, settings.base.revision],
            "shape": asdict(settings.shape),
            "sampling": asdict(settings.sampling),
            "batch": settings.objectives.latency.batch,
            "sparse": sparse_grids(space),
            "sampler_steps": sorted(space.sampler_steps),
        }
    )

"""The latency profile of a run's space on this device. Needs no torch where there is none."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flexsearch.latency import cache
from flexsearch.latency.profile import LatencyProfile
from flexsearch.schedule.candidate import Candidate
from flexsearch.trial.settings import TrialSettings

if TYPE_CHECKING:
    from flexsearch.latency.make import ProfilingReport


def load_profile(settings: TrialSettings) -> LatencyProfile | None:
    """Find the profile of these settings on this device; None where there is none."""
    return cache.load_profile(key_of(settings), lambda: _hardware(settings))


def save_profile(profile: LatencyProfile, settings: TrialSettings) -> Path:
    """Keep a profile that was made on this device, in place of an older one; give its file."""
    return cache.save_profile(profile, key_of(settings), _hardware(settings))


def make_profile(
    settings: TrialSettings, *, others: Sequence[Candidate], rounds: int, report: "ProfilingReport", **options: int
) -> LatencyProfile:
    """Make the profile of these settings on this device: `flexsearch.latency.make.make_profile`."""
    from flexsearch.latency import make
    from flexsearch.trial.device import trial_device

    return make.make_profile(
        settings.base,
        settings.search_space,
        settings=settings.objectives.latency,
        sampling=settings.sampling,
        device=trial_device(),
        others=others,
        rounds=rounds,
        report=report,
        **options,
    )


def key_of(settings: TrialSettings) -> str:
    """Identify all that decides the profile of these settings but the device."""
    return cache.profile_key(
        settings.base, settings.search_space, settings=settings.objectives.latency, sampling=settings.sampling
    )


def _hardware(settings: TrialSettings) -> dict[str, Any]:
    from flexsearch.latency.hardware import hardware_of
    from flexsearch.trial.device import trial_device

    return hardware_of(trial_device(), settings.objectives.latency)

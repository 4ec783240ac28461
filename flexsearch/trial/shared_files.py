"""Files that trials of a study share: warm start, teacher outputs, weights, reference latency, and what the search
begins with.

Each carries a digest of what it depends on, so a changed configuration never meets an old file.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flexsearch.measurement import short_digest
from flexsearch.paths import checkpoint_folder
from flexsearch.schedule.density import DensitySchedule
from flexsearch.trial.profiles import key_of
from flexsearch.trial.settings import InputSettings, TrialSettings

WARM_START_SEED = 0
_FINGERPRINT_BYTES = 1 << 20


def base_fingerprint(settings: InputSettings, *, part: str = "transformer") -> dict[str, Any]:
    """Identify the base's weights: name and revision, and size and first mebibyte of files on this machine; and their
    type, where that is not fp32."""
    folder = checkpoint_folder(settings.base.checkpoint) / part
    is_rounded = part == "transformer" and settings.base.dtype != "fp32"
    dtype = {"dtype": settings.base.dtype} if is_rounded else {}
    if not folder.is_dir():
        return {"checkpoint": settings.base.checkpoint, "revision": settings.base.revision, **dtype}
    files = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as weights:
            head = hashlib.sha256(weights.read(_FINGERPRINT_BYTES)).hexdigest()[:12]
        files[path.name] = [path.stat().st_size, head]
    return {"files": files, **dtype}


def warm_start_digest(settings: TrialSettings) -> str:
    """Identify a warm start: base, data, the space's schedules, optimisation, and what it takes of sampling."""
    space = {key: settings.space[key] for key in ("segments", "timetable") if key in settings.space}
    warm_start = None if settings.warm_start is None else asdict(settings.warm_start)
    return short_digest(
        {
            "base": base_fingerprint(settings),
            "data": settings.data.identity,
            "space": space,
            "warm_start": warm_start,
            "seed": WARM_START_SEED,
            **_of_sampling(settings),
        }
    )


def _of_sampling(settings: TrialSettings) -> dict[str, float]:
    """Give what training takes of sampling: the clock's shift, by which it draws its times, and the scale of guidance
    that the base embeds; each left out where there is none."""
    target = settings.search_space.target
    guidance = settings.sampling.embedded_guidance(target.shape)
    found = {"shift": None if target.shift == 1.0 else target.shift, "guidance": guidance}
    return {name: value for name, value in found.items() if value is not None}


def teacher_outputs_digest(settings: TrialSettings, *, seed: int) -> str:
    """Identify the teacher outputs: base and training stream."""
    return short_digest(
        {
            "base": base_fingerprint(settings),
            "data": settings.data.identity,
            "batch": settings.trial.batch,
            "updates": settings.trial.updates,
            "edges": settings.search_space.time_edges,
            "seed": seed,
            **_of_sampling(settings),
        }
    )


def _taught(settings: TrialSettings) -> dict[str, Any]:
    """Identify what trials are taught by, and draw in, where these are samples."""
    assert settings.teacher_samples is not None
    of = settings.search_space.sampling.values_of
    first = {name: of(name)[:1] for name in ("solver", "start")}
    return {**asdict(settings.teacher_samples), "reference_steps": settings.reference_steps, **first}


def weights_digest(settings: TrialSettings, schedule: DensitySchedule, *, seed: int, trains: bool) -> str:
    """Identify the weights of a trial: what it starts from and its training, but nothing of how it samples."""
    trained = {
        "warm_start": warm_start_digest(settings),
        "trial": asdict(settings.trial),
        "edges": settings.search_space.time_edges,
        "seed": seed,
        **({} if settings.teacher_samples is None else {"teacher_samples": _taught(settings)}),
    }
    start = {"base": base_fingerprint(settings), "schedule": schedule.digest}
    return short_digest({**start, **(trained if trains else {})})


@dataclass(frozen=True, kw_only=True)
class SharedFiles:
    """Paths under `RUN/base`."""

    folder: Path
    warm_start: Path

    @classmethod
    def of(cls, run_dir: Path, settings: TrialSettings) -> "SharedFiles":
        """Give the paths in a run's directory."""
        folder = run_dir / "base"
        return cls(folder=folder, warm_start=folder / f"warm_start-{warm_start_digest(settings)}.safetensors")

    def teacher_outputs(self, settings: TrialSettings, *, seed: int) -> Path:
        """Give the file of the teacher's outputs on the training stream of `seed`."""
        return self.folder / f"lessons-{teacher_outputs_digest(settings, seed=seed)}.safetensors"

    def teacher_samples(self, settings: TrialSettings) -> Path:
        """Give the file of the base's samples that trials are taught by."""
        assert settings.teacher_samples is not None
        digest = short_digest(
            {
                "base": base_fingerprint(settings),
                "data": settings.data.identity,
                "sampling": settings.sampling.facts,
                "teacher_samples": _taught(settings),
            }
        )
        return self.folder / f"teacher_samples-{digest}.safetensors"

    def weights(self, settings: TrialSettings, schedule: DensitySchedule, *, seed: int, trains: bool) -> Path:
        """Give the folder of the weights of trials with `schedule`, trained on the stream of `seed` if they train."""
        return self.folder / f"weights-{weights_digest(settings, schedule, seed=seed, trains=trains)}"

    def masks(self, settings: TrialSettings, *, seed: int) -> Path:
        """Give the file of the space's planned masks."""
        digest = short_digest(
            {
                "base": base_fingerprint(settings),
                "data": settings.data.identity,
                "sampling": settings.sampling.facts,
                "space": settings.space,
                "seed": seed,
            }
        )
        return self.folder / f"masks-{digest}.json"

    def gradient_seeds(self, settings: TrialSettings, *, seed: int) -> Path:
        """Give the file of the schedules that a gradient on the warm start found."""
        digest = short_digest(
            {
                "warm_start": warm_start_digest(settings),
                "space": settings.space,
                "batch": settings.trial.batch,
                "times": key_of(settings),
                "seed": seed,
            }
        )
        return self.folder / f"gradient_seeds-{digest}.json"

    def data_gaussian(self, settings: TrialSettings) -> Path:
        """Give the file of mean and covariance of the base's data."""
        facts = {"base": base_fingerprint(settings), "sampling": settings.sampling.facts}
        spread = {"covariance": "gaussian" in settings.search_space.starts}
        return self.folder / f"data_gaussian-{short_digest(facts | spread)}.safetensors"

    def reference_latency(self, protocol: dict[str, Any]) -> Path:
        """Give the file of the dense base's latency under `protocol`."""
        return self.folder / f"reference_latency-{short_digest(protocol)}.json"

    @property
    def device_lock(self) -> Path:
        """Prefix of the lock files of devices."""
        return self.folder / "device"

"""The folder that goes from sitting to sitting: what is in it, and what it can do without."""

import gzip
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from flexsearch.errors import UserError
from flexsearch.files import replacing
from flexsearch.report.front import Front
from flexsearch.study.store import TrialRecord
from flexsearch.trial.life import CHECKPOINT

RAW = Path("data", "FashionMNIST", "raw")
FILES = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
_NEAR = 0.3  # no noise of a Frechet distance that is worth searching with is half as large


def unpack_images(images: Path, state: Path) -> None:
    """Unpacks Fashion-MNIST's four `.gz` files to where torchvision looks for them.

    Raises:
        UserError: one is missing.
    """
    for name in FILES:
        packed, target = images / f"{name}.gz", state / RAW / name
        if target.exists():
            continue
        if not packed.exists():
            raise UserError(f"has no {packed.name}", field=f"--images {images}")
        with gzip.open(packed) as source, replacing(target) as temporary, temporary.open("wb") as unpacked:
            shutil.copyfileobj(source, unpacked)


def prune(state: Path, front: Front | None, *, images_come_again: bool) -> None:
    """Removes what no later stage reads, or what is made again in seconds.

    Args:
        state: the state folder.
        front: of the search as far as it is; None before it.
        images_come_again: whether the images are given anew in every sitting.
    """
    shutil.rmtree(state / "cache", ignore_errors=True)  # copies of what the run directory holds
    for teacher_outputs in (state / "run" / "base").glob("lessons-*.safetensors"):
        teacher_outputs.unlink()
    for packed in (state / RAW).glob("*.gz"):
        packed.unlink()
    if images_come_again:
        shutil.rmtree(state / "data", ignore_errors=True)
    if front is not None:
        dense = [record for record in front.baselines if record.candidate.schedule.is_dense]  # they are the base
        for record in (*dense, *hopeless(front)):
            shutil.rmtree(state / "run" / "trials" / str(record.number) / CHECKPOINT, ignore_errors=True)


def hopeless(front: Front) -> list[TrialRecord]:
    """Trials that no measurement of a confirmation could bring back to the front.

    Some other trial is no slower and better by 30 %, many times the noise. As a front only gets better, this stays so.
    Baselines stay: everything is compared with them.
    """
    complete = [front.values(record) for record in (*front.points, *front.baselines)]
    return [
        record
        for record in front.others
        if any(
            latency <= front.values(record)[-1] and quality < (1 - _NEAR) * front.values(record)[0]
            for quality, latency in complete
        )
    ]


def sizes_mib(state: Path) -> dict[str, float]:
    """MiB of each part of the state folder, largest first."""
    parts = {"training checkpoints": 0.0, "trained models": 0.0, "base": 0.0, "warm start": 0.0, "the rest": 0.0}
    for path in _files(state):
        parts[_part(path.relative_to(state))] += path.stat().st_size / 2**20
    return dict(sorted(parts.items(), key=lambda part: -part[1]))


def _part(path: Path) -> str:
    if path.suffix == ".checkpoint":
        return "training checkpoints"
    if CHECKPOINT in path.parts:
        return "trained models"
    if path.parts[0] == "base":
        return "base"
    return "warm start" if path.name.startswith("warm_start-") else "the rest"


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def described(sizes: Mapping[str, float]) -> str:
    """One line."""
    parts = ", ".join(f"{name} {size:.1f}" for name, size in sizes.items() if size >= 0.05)
    return f"{sum(sizes.values()):.1f} MiB ({parts})"

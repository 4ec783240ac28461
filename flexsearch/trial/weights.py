"""Weights of trials, kept by schedule: trials that differ in how they sample train once.

`RUN/base/weights-<digest>` is a model as diffusers saves it, with `origin.json`: the trial that trained it and what it
recorded of that, which it takes up again if it is cut short later, and the checksums of the files. It is written
beside its place and gets its name when it is whole; of trials that train one schedule at once, which leave the same,
the first one's stays. The files in the trials' own folders are further names of these where the file system has that.
Nothing writes into either.
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from flexsearch.files import file_sha256, folder_beside, link_or_copy, read_json, rename_folder, write_json
from flexsearch.models.flexdit import FlexDiT
from flexsearch.trial.contract import Rung

_ORIGIN = "origin.json"
_WEIGHTS = "*.safetensors"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where weights come from.

    Attributes:
        trial: that trained them.
        curve: (update, loss) pairs; empty if they were not trained, or by an earlier version.
        rungs: measured on the way, in order.
        seconds: wall time by phase.
    """

    trial: int
    curve: tuple[tuple[int, float], ...] = ()
    rungs: tuple[Rung, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Origin":
        """Build an origin from JSON values."""
        return cls(
            trial=values["trial"],
            curve=tuple((update, loss) for update, loss in values.get("curve", ())),
            rungs=tuple(map(Rung.from_dict, values.get("rungs", ()))),
            seconds=values.get("seconds", {}),
        )


def load_weights(folder: Path, model: FlexDiT) -> Origin | None:
    """Load kept weights into a model of their schedule; what is damaged is removed.

    Returns:
        Where they come from; None if there are none, and the model is as it was.
    """
    if not folder.is_dir():
        return None
    try:
        values = read_json(folder / _ORIGIN)
        origin = Origin.from_dict(values)
        is_whole = all(file_sha256(folder / name) == digest for name, digest in values["sha256"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        is_whole = False
    if not is_whole:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    model.load_state_dict({name: value for path in folder.glob(_WEIGHTS) for name, value in load_file(path).items()})
    return origin


def keep_weights(folder: Path, model: FlexDiT, *, origin: Origin) -> None:
    """Keep the weights that a trial has, unless they are kept already."""
    if folder.is_dir():
        return
    with folder_beside(folder) as temporary:
        model.save_pretrained(temporary, safe_serialization=True)
        checksums = {path.name: file_sha256(path) for path in temporary.iterdir()}
        write_json(temporary / _ORIGIN, {**asdict(origin), "sha256": checksums})
        _give_name(temporary, folder)


def adopt_weights(theirs: Path, folder: Path, *, trial: int) -> None:
    """Keep the weights that another run has kept as those of a trial of this run, unless some are kept already."""
    try:
        values = read_json(theirs / _ORIGIN)
    except (OSError, ValueError):
        return
    if folder.is_dir():
        return
    with folder_beside(folder) as temporary:
        link_model(theirs, temporary)
        write_json(temporary / _ORIGIN, {**values, "trial": trial})
        _give_name(temporary, folder)


def _give_name(temporary: Path, folder: Path) -> None:
    try:
        rename_folder(temporary, folder)
    except OSError:
        if not folder.is_dir():  # else another trial was first
            raise


def link_model(folder: Path, model_folder: Path) -> None:
    """Give a trial's own folder the files of the kept model."""
    for path in folder.iterdir():
        if path.name != _ORIGIN:
            link_or_copy(path, model_folder / path.name)

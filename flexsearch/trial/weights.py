"""Weights of trials, kept by schedule: trials that differ in how they sample train once.

`RUN/base/weights-<digest>` is a model as diffusers saves it, with `origin.json`: the trial that trained it, and the
checksums of its files. It is written beside its place and gets its name when it is whole; of trials that train one
schedule at once, which leave the same, the first one's stays. The files in the trials' own folders are further names
of these where the file system has that. Nothing writes into either.
"""

import json
import shutil
from pathlib import Path

from safetensors.torch import load_file

from flexsearch.files import file_sha256, folder_beside, link_or_copy, rename_folder, write_atomically
from flexsearch.models.flexdit import FlexDiT

_ORIGIN = "origin.json"
_WEIGHTS = "*.safetensors"


def load_weights(folder: Path, model: FlexDiT) -> int | None:
    """Load kept weights into a model of their schedule; what is damaged is removed.

    Returns:
        The number of the trial that trained them; None if there are none, and the model is as it was.
    """
    if not folder.is_dir():
        return None
    try:
        origin = json.loads((folder / _ORIGIN).read_text())
        is_whole = all(file_sha256(folder / name) == digest for name, digest in origin["sha256"].items())
    except (OSError, ValueError, KeyError):
        is_whole = False
    if not is_whole:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    model.load_state_dict({name: value for path in folder.glob(_WEIGHTS) for name, value in load_file(path).items()})
    trial: int = origin["trial"]
    return trial


def keep_weights(folder: Path, model: FlexDiT, *, trial: int) -> None:
    """Keep the weights that a trial has, unless they are kept already."""
    if folder.is_dir():
        return
    with folder_beside(folder) as temporary:
        model.save_pretrained(temporary, safe_serialization=True)
        checksums = {path.name: file_sha256(path) for path in temporary.iterdir()}
        write_atomically(temporary / _ORIGIN, json.dumps({"trial": trial, "sha256": checksums}, indent=2))
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

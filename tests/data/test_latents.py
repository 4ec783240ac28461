"""Folders of latents: `data.name` takes either format, and damage is named."""

import json
from pathlib import Path

import pytest
import torch
from builders import Call

from flexsearch.data.latents import LatentFolder
from flexsearch.data.loading import load_data
from flexsearch.data.settings import DataSettings
from flexsearch.errors import UserError


def test_our_format_goes_under_the_name_of_the_other(encode: Call, class_images: Path, tmp_path: Path) -> None:
    encode(class_images, tmp_path / "ours")
    ours = load_data(DataSettings(name="imagenet_latents", root=str(tmp_path / "ours")))
    assert isinstance(ours, LatentFolder)
    assert ours.clean(torch.tensor([2])).shape == (1, 4, 4, 4)


def test_an_empty_folder_says_how_to_make_latents(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root: .*`flexsearch encode` makes them"):
        load_data(DataSettings(name="latents", root=str(tmp_path)))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ("{}", "cannot be read"),
        ('{"format": "flexsearch latents", "version": 2}', "must be 'flexsearch latents', version 1, but is .* 2"),
        ('{"format": "flexsearch latents", "version": 1}', "cannot be read"),
    ],
)
def test_damaged_indices_are_named(tmp_path: Path, contents: str, message: str) -> None:
    (tmp_path / "index.json").write_text(contents)
    with pytest.raises(UserError, match=rf"index\.json: {message}"):
        LatentFolder(tmp_path)


def test_damaged_shards_are_named(encode: Call, class_images: Path, tmp_path: Path) -> None:
    encode(class_images, tmp_path / "out")
    shard = tmp_path / "out" / "shard-00001.safetensors"
    shard.write_bytes(b"\xff" * shard.stat().st_size)
    with pytest.raises(UserError, match=r"shard-00001\.safetensors: cannot be read"):
        LatentFolder(tmp_path / "out")


def test_the_index_is_the_same_on_every_machine(encode: Call, class_images: Path, tmp_path: Path) -> None:
    """Nothing but `source`, which is for people, holds a path."""
    encode(class_images, tmp_path / "out")
    values = json.loads((tmp_path / "out" / "index.json").read_text())
    assert values.pop("source") == {"images": str(class_images)}
    assert str(tmp_path) not in json.dumps(values)

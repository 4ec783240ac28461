"""Captions: where they are read from, and that their stored embeddings are those of the text encoder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from flexsearch.data.conditions import CaptionConditions
from flexsearch.data.image_folder import open_image_folder
from flexsearch.data.latents import LatentFolder
from flexsearch.errors import UserError
from flexsearch.models.text_encoder import TextEncoder, load_text_encoder

Encode = Callable[..., Any]
CLOSE = {"rtol": 2e-3, "atol": 2e-3}  # float16


@pytest.fixture(params=["listing", "sidecars"])
def folder(request: pytest.FixtureRequest, captioned_images: Path, captions: dict[str, str]) -> Path:
    """The same captions in either way."""
    if request.param == "sidecars":
        (captioned_images / "captions.jsonl").unlink()
        for name, caption in captions.items():
            (captioned_images / name).with_suffix(".txt").write_text(f"{caption}\n")
    return captioned_images


def test_stored_embeddings_are_those_of_the_text_encoder(
    encode: Encode, text_encoder: TextEncoder, folder: Path, captions: dict[str, str], tmp_path: Path
) -> None:
    encode(folder, tmp_path / "out", shard_size=2)
    found = LatentFolder(tmp_path / "out")
    ordered = [captions[name] for name in sorted(captions)]
    assert [shard.items for shard in found.index.shards] == [2, 2, 1]
    condition = found.condition(torch.tensor([4, 0, 2, 3, 1]))
    states, mask = condition["encoder_hidden_states"], condition["encoder_attention_mask"]
    assert (states.shape, mask.shape, mask.dtype) == ((5, 12, 16), (5, 12), torch.int64)
    assert set(condition) == {"encoder_hidden_states", "encoder_attention_mask"}
    for row, item in enumerate((4, 0, 2, 3, 1)):
        (expected,) = text_encoder.embed([ordered[item]])
        num = len(ordered[item].split()) + 1  # and its end
        torch.testing.assert_close(states[row, :num], expected, **CLOSE)
        assert mask[row].tolist() == [1] * num + [0] * (12 - num)
        assert not states[row, num:].any()


def test_generated_images_take_captions_in_turn(encode: Encode, folder: Path, tmp_path: Path) -> None:
    encode(folder, tmp_path / "out")
    found = LatentFolder(tmp_path / "out")
    drawn, direct = found.conditions.of_samples(range(3, 12)), found.condition(torch.arange(3, 12) % 5)
    assert all(torch.equal(drawn[name], direct[name]) for name in direct)
    assert (found.num_classes, len(found.labels)) == (0, 0)


def test_no_condition_is_the_empty_caption(
    encode: Encode, text_encoder: TextEncoder, folder: Path, tmp_path: Path
) -> None:
    encode(folder, tmp_path / "out")
    none = LatentFolder(tmp_path / "out").conditions.none(3)
    (expected,) = text_encoder.embed([""])
    torch.testing.assert_close(none["encoder_hidden_states"][2, :1], expected, **CLOSE)
    assert none["encoder_attention_mask"].tolist() == [[1] + [0] * 11] * 3


def test_a_lost_empty_caption_is_named_and_written_again(encode: Encode, folder: Path, tmp_path: Path) -> None:
    encode(folder, tmp_path / "out")
    lost = tmp_path / "out" / "unconditional.safetensors"
    before = lost.read_bytes()
    lost.unlink()
    with pytest.raises(UserError, match=r"unconditional\.safetensors: is missing"):
        LatentFolder(tmp_path / "out")
    assert encode(folder, tmp_path / "out").num_images == 0
    assert lost.read_bytes() == before


@pytest.mark.parametrize(("size", "reads_size"), [(512, False), (1024, True)])
def test_large_images_come_with_their_size(
    encode: Encode, folder: Path, tmp_path: Path, size: int, reads_size: bool
) -> None:
    encode(folder, tmp_path / "out")
    index = tmp_path / "out" / "index.json"
    values = json.loads(index.read_text())
    assert values["captions"]["resolution"] == [8, 8]
    values["captions"]["resolution"] = [size, size]  # in place of a minute's encoding
    index.write_text(json.dumps(values))
    conditions = LatentFolder(tmp_path / "out").conditions
    assert isinstance(conditions, CaptionConditions)
    for condition in (conditions.of_samples(range(2)), conditions.none(2)):
        assert ("resolution" in condition) is reads_size
        if reads_size:
            assert condition["resolution"].tolist() == [[size, size]] * 2
            assert condition["aspect_ratio"].tolist() == [[1.0]] * 2


def test_other_captions_need_another_folder(encode: Encode, folder: Path, tmp_path: Path) -> None:
    encode(folder, tmp_path / "out")
    listing, sidecar = folder / "captions.jsonl", folder / "dog.txt"
    changed = listing if listing.exists() else sidecar
    changed.write_text(changed.read_text().replace("blue", "green"))
    with pytest.raises(UserError, match="out: was begun with images "):
        encode(folder, tmp_path / "out")


def _line(file: str, caption: object) -> str:
    return json.dumps({"file": file, "caption": caption}, ensure_ascii=False)


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("dog.png: a dog", r'captions\.jsonl, line 6: must be {"file": ..., "caption": ...}'),
        (_line("cow.png", "a cow"), r"captions\.jsonl, line 6: names cow\.png, which is not among the 5 items"),
        (_line("./dog.png", "a dog"), r"captions\.jsonl, line 6: gives dog\.png a second caption"),
        (_line("dog.png", " "), r"captions\.jsonl, line 6: file and caption must be text and not empty"),
        (_line("dog.png", 3), r"captions\.jsonl, line 6: file and caption must be text and not empty"),
    ],
)
def test_bad_lines_are_named(captioned_images: Path, added: str, message: str) -> None:
    with (captioned_images / "captions.jsonl").open("a") as listing:
        listing.write(f"{added}\n")
    with pytest.raises(UserError, match=message):
        open_image_folder(captioned_images)


def test_images_without_a_caption_are_named(folder: Path, save_images: Callable[..., Path]) -> None:
    save_images(["cats/3.png"])
    where = (
        r"images/cats/3\.png: has no caption in " if (folder / "captions.jsonl").exists() else r"cats/3\.txt: is mis"
    )
    with pytest.raises(UserError, match=where):
        open_image_folder(folder)


def test_empty_sidecars_are_named(folder: Path) -> None:
    (folder / "captions.jsonl").unlink(missing_ok=True)
    for name in ("moon", "cats/1", "cats/2", "dog", "zebra"):
        (folder / f"{name}.txt").write_text(" \n" if name == "dog" else "a")
    with pytest.raises(UserError, match=r"images/dog\.txt: must hold a caption, but is empty"):
        open_image_folder(folder)


def test_text_is_read_as_it_was_written(captioned_images: Path, save_images: Callable[..., Path]) -> None:
    """A line ends at its line feed, not at what else Unicode calls an end; a byte order mark is no letter."""
    save_images(["two.png"])
    listing = captioned_images / "captions.jsonl"
    listing.write_text(listing.read_text() + _line("two.png", "one\u2028two\x85three"), encoding="utf-8-sig")
    found = open_image_folder(captioned_images)
    assert found.captions[found.names.index("two.png")] == "one\u2028two\x85three"


def test_the_text_encoder(text_encoder: TextEncoder, checkpoint: Path, tmp_path: Path) -> None:
    together = text_encoder.embed(["a red cat on the moon", " CAT", ""])
    assert [row.shape for row in together] == [(7, 16), (2, 16), (1, 16)]
    torch.testing.assert_close(together[1], text_encoder.embed(["cat"])[0])
    cut = load_text_encoder(str(checkpoint), max_tokens=3)
    assert cut.embed(["a red cat on the moon"])[0].shape == (3, 16)
    assert cut.digest != text_encoder.digest
    (tmp_path / "moved").symlink_to(checkpoint)
    assert load_text_encoder(str(tmp_path / "moved")).digest == text_encoder.digest

"""Captions: where they are read from, and that their stored embeddings are those of the text encoder."""

import json
from pathlib import Path

import torch
from builders import Call

from flexsearch.data.image_folder import open_image_folder
from flexsearch.data.latents import LatentFolder
from flexsearch.models.text_encoder import TextEncoder, load_text_encoder

CLOSE = {"rtol": 2e-3, "atol": 2e-3}  # float16


def test_stored_embeddings_are_those_of_the_text_encoder(
    encode: Call, text_encoder: TextEncoder, captioned_images: Path, captions: dict[str, str], tmp_path: Path
) -> None:
    encode(captioned_images, tmp_path / "out", shard_size=2)
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
    none, (expected,) = found.conditions.none(3), text_encoder.embed([""])
    torch.testing.assert_close(none["encoder_hidden_states"][2, :1], expected, **CLOSE)
    assert none["encoder_attention_mask"].tolist() == [[1] + [0] * 11] * 3


def test_text_is_read_as_it_was_written(captioned_images: Path, save_images: Call) -> None:
    """A line ends at its line feed, not at what else Unicode calls an end; a byte order mark is no letter."""
    save_images(["two.png"])
    listing = captioned_images / "captions.jsonl"
    line = json.dumps({"file": "two.png", "caption": "one\u2028two\x85three"}, ensure_ascii=False)
    listing.write_text(listing.read_text() + line, encoding="utf-8-sig")
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

"""Encoding: what is read back is what was encoded, each item once; what was interrupted goes on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from flexsearch.data.conditions import CaptionConditions, ClassConditions
from flexsearch.data.encoding import Encoders, EncodingSettings, encode_folder
from flexsearch.data.image_folder import open_image_folder
from flexsearch.data.latents import LatentFolder
from flexsearch.data.loading import load_data
from flexsearch.data.settings import DataSettings
from flexsearch.errors import UserError
from flexsearch.models.prompt_encoder import EmbeddedPrompt

SIZE, SPREAD, CHANNELS = 16, 0.01, 5
SETTINGS = EncodingSettings(size=SIZE, frames=None, seed=0, shard_size=4, batch=3, max_tokens=6)


@dataclass
class Counting:
    """Stand-ins of the encoders that remember how many images and captions they saw."""

    images: int = 0
    captions: list[str] = field(default_factory=list)
    fails_after: int | None = None
    has_pooled: bool = False
    scale: float = 1.0

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        assert images.shape[1:] == (3, SIZE, SIZE)
        if self.fails_after is not None and self.images >= self.fails_after:
            raise KeyboardInterrupt
        self.images += len(images)
        mean = F.avg_pool2d(images, 8)
        return mean, torch.full_like(mean, SPREAD)

    def embed(self, captions: Sequence[str]) -> list[EmbeddedPrompt]:
        self.captions += captions
        lengths = [len(caption.split()) + 1.0 for caption in captions]
        return [
            EmbeddedPrompt(
                torch.arange(num)[:, None].expand(-1, CHANNELS) * self.scale,
                torch.full((3,), num) if self.has_pooled else None,
            )
            for num in lengths
        ]

    def encoders(self, *, text: bool = False, **identity: str) -> Encoders:
        return Encoders(
            posterior=self.posterior, embed=self.embed if text else None, identity={"autoencoder": "a", **identity}
        )


def encode(images: Path, out: Path, counting: Counting, *, text: bool = False, **changes: int) -> None:
    settings = replace(SETTINGS, **changes)
    seen: list[int] = []
    encode_folder(
        open_image_folder(images, frames=settings.frames),
        out,
        settings=settings,
        encoders=counting.encoders(text=text),
        source={"images": str(images)},
        report=lambda done, _: seen.append(done),
    )
    assert seen == sorted(seen)


def grey(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (SIZE, SIZE), (value, value, value)).save(path)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Ten images in two classes; image i is grey of 20 * i."""
    root = tmp_path / "images"
    for index in range(10):
        grey(root / ("a" if index < 7 else "b") / f"{index}.png", 20 * index)
    return root


@pytest.fixture
def captioned(tmp_path: Path) -> Path:
    """Six images; caption i has i + 1 words."""
    root = tmp_path / "captioned"
    for index in range(6):
        grey(root / f"{index}.png", 20 * index)
        (root / f"{index}.txt").write_text(" ".join(["word"] * (index + 1)))
    return root


def greys(latents: Tensor) -> list[int]:
    """The images that they are of."""
    return ((latents.flatten(1).mean(1) + 1) * 127.5 / 20).round().int().tolist()


def test_every_item_is_stored_once_with_its_label(images: Path, tmp_path: Path) -> None:
    counting = Counting()
    encode(images, tmp_path / "out", counting)
    assert counting.images == 10
    data = load_data(DataSettings(name="latents", root=str(tmp_path / "out")))
    assert isinstance(data, LatentFolder)
    assert len(data) == 10
    latents = data.clean(torch.arange(10))
    assert latents.shape == (10, 3, 2, 2)
    assert latents.dtype == torch.float32
    assert greys(latents) == list(range(10))
    assert data.labels.tolist() == [0] * 7 + [1] * 3
    assert data.index.class_names == ("a", "b")
    assert data.conditions == ClassConditions(num_classes=2)
    chosen = torch.tensor([9, 0, 4, 9])
    assert torch.equal(data.clean(chosen), latents[chosen])
    assert data.condition(chosen)["class_labels"].tolist() == [1, 0, 0, 1]


def test_latents_are_samples_of_the_posterior_that_seed_and_item_decide(images: Path, tmp_path: Path) -> None:
    encode(images, tmp_path / "one", Counting())
    encode(images, tmp_path / "batches", Counting(), batch=1, shard_size=3)
    encode(images, tmp_path / "other", Counting(), seed=1)
    one, batches, other = (
        LatentFolder(tmp_path / name).clean(torch.arange(10)) for name in ("one", "batches", "other")
    )
    assert torch.equal(one, batches)
    assert not torch.equal(one, other)
    means = torch.arange(10).mul(20).float().div(127.5).sub(1).view(-1, 1, 1, 1)
    assert (one - means).std().item() == pytest.approx(SPREAD, rel=0.3)
    generator = torch.Generator().manual_seed(4)
    torch.testing.assert_close(one[4], means[4] + SPREAD * torch.randn(3, 2, 2, generator=generator), atol=1e-3, rtol=0)


def test_an_interrupted_encoding_goes_on(images: Path, tmp_path: Path) -> None:
    out, counting = tmp_path / "out", Counting(fails_after=6)
    with pytest.raises(KeyboardInterrupt):
        encode(images, out, counting)
    assert sorted(path.name for path in out.iterdir()) == ["index.json", "shard-00000.safetensors"]
    with pytest.raises(UserError, match=r"index\.json: holds 4 of 10 items; the same `flexsearch encode` command goes"):
        LatentFolder(out)
    counting = Counting()
    encode(images, out, counting)
    assert counting.images == 6
    encode(images, tmp_path / "straight", Counting())
    for path in (tmp_path / "straight").glob("*.safetensors"):
        assert (out / path.name).read_bytes() == path.read_bytes()
    counting = Counting()
    encode(images, out, counting)
    assert counting.images == 0


@pytest.mark.parametrize("damage", ["missing", "truncated", "changed"])
def test_only_a_damaged_shard_is_made_anew(images: Path, tmp_path: Path, damage: str) -> None:
    out = tmp_path / "out"
    encode(images, out, Counting())
    before, path = LatentFolder(out).clean(torch.arange(10)), out / "shard-00001.safetensors"
    contents = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(contents[:-10] if damage == "truncated" else contents[:-1] + bytes([contents[-1] ^ 1]))
    if damage != "changed":
        with pytest.raises(UserError, match=r"shard-00001\.safetensors: is missing or not of \d+ bytes"):
            LatentFolder(out)
    counting = Counting()
    encode(images, out, counting)
    assert counting.images == 4
    assert path.read_bytes() == contents
    assert [shard.file for shard in LatentFolder(out).index.shards] == [f"shard-0000{n}.safetensors" for n in range(3)]
    assert torch.equal(LatentFolder(out).clean(torch.arange(10)), before)


def test_other_settings_images_or_encoders_are_refused(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    encode(images, out, Counting())
    encode(images, out, Counting(), batch=7)
    with pytest.raises(UserError, match=r"out: was begun with seed 0, but got 1; give the same, or another folder"):
        encode(images, out, Counting(), seed=1)
    with pytest.raises(UserError, match="was begun with shard size 4, but got 5"):
        encode(images, out, Counting(), shard_size=5)
    with pytest.raises(UserError, match="was begun with autoencoder a, but got b"):
        encode_folder(
            open_image_folder(images),
            out,
            settings=SETTINGS,
            encoders=Counting().encoders(autoencoder="b"),
            source={},
            report=lambda *_: None,
        )
    (images / "b" / "9.png").unlink()
    with pytest.raises(UserError, match="was begun with images"):
        encode(images, out, Counting())
    with pytest.raises(UserError, match="--shard-size: must be at least 1, but got 0"):
        replace(SETTINGS, shard_size=0)


def test_a_damaged_image_is_named_and_what_was_done_is_kept(images: Path, tmp_path: Path) -> None:
    whole = (images / "a" / "6.png").read_bytes()
    (images / "a" / "6.png").write_bytes(whole[: len(whole) // 2])  # its header is whole
    with pytest.raises(UserError, match=r"a/6\.png: cannot be read as an image"):
        encode(images, tmp_path / "out", Counting())
    (images / "a" / "6.png").write_bytes(whole)
    counting = Counting()
    encode(images, tmp_path / "out", counting)
    assert counting.images == 6


def test_latents_that_are_not_finite_are_refused(images: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a/0\.png: gives latents that are not finite"):
        encode_folder(
            open_image_folder(images),
            tmp_path / "out",
            settings=SETTINGS,
            encoders=Encoders(posterior=lambda images: (images * torch.nan, images), embed=None, identity={}),
            source={},
            report=lambda *_: None,
        )


def test_captions_are_embedded_once_and_padded_when_read(captioned: Path, tmp_path: Path) -> None:
    counting = Counting()
    encode(captioned, tmp_path / "out", counting, text=True)
    assert sorted(counting.captions, key=len) == [" ".join(["word"] * num) for num in range(7)]
    data = LatentFolder(tmp_path / "out")
    assert isinstance(data.conditions, CaptionConditions)
    assert len(data.labels) == data.num_classes == 0
    found = data.condition(torch.tensor([4, 0, 5]))
    assert set(found) == {"encoder_hidden_states", "encoder_attention_mask"}
    states, mask = found["encoder_hidden_states"], found["encoder_attention_mask"]
    assert states.shape == (3, 6, CHANNELS)
    assert states.dtype == torch.float32
    assert mask.dtype == torch.int64
    assert mask.tolist() == [[1] * 6, [1, 1, 0, 0, 0, 0], [1] * 6]
    assert states[:, :, 0].tolist() == [list(range(6)), [0, 1, 0, 0, 0, 0], list(range(6))]
    assert data.conditions.none(2)["encoder_attention_mask"].tolist() == [[1, 0, 0, 0, 0, 0]] * 2
    samples = data.conditions.of_samples([4, 6, 11])
    assert torch.equal(samples["encoder_hidden_states"], states[[0, 1, 2]])


def test_the_empty_caption_is_made_anew_where_it_is_damaged(captioned: Path, tmp_path: Path) -> None:
    out, lost = tmp_path / "out", tmp_path / "out" / "unconditional.safetensors"
    encode(captioned, out, Counting(), text=True)
    before = lost.read_bytes()
    lost.unlink()
    with pytest.raises(UserError, match=r"unconditional\.safetensors: is missing"):
        LatentFolder(out)
    counting = Counting()
    encode(captioned, out, counting, text=True)
    assert (counting.images, counting.captions) == (0, [""])
    assert (lost.read_bytes(), len(LatentFolder(out))) == (before, 6)


def test_pooled_vectors_go_with_their_captions(captioned: Path, tmp_path: Path) -> None:
    encode(captioned, tmp_path / "out", Counting(has_pooled=True), text=True)
    data = LatentFolder(tmp_path / "out")
    assert data.condition(torch.tensor([5, 0]))["pooled_projections"].tolist() == [[7.0] * 3, [2.0] * 3]
    assert data.conditions.of_samples([1, 7])["pooled_projections"].tolist() == [[3.0] * 3] * 2
    assert data.conditions.none(2)["pooled_projections"].tolist() == [[1.0] * 3] * 2
    path = tmp_path / "out" / "shard-00001.safetensors"
    tensors = safetensors.torch.load_file(path)
    safetensors.torch.save_file({**tensors, "pooled": tensors["pooled"][:, :2].contiguous()}, path)
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    index["shards"][1]["num_bytes"] = path.stat().st_size
    (tmp_path / "out" / "index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"shard-00001\.safetensors: must hold pooled \(2, 3\), as index"):
        LatentFolder(tmp_path / "out")


def test_embeddings_beyond_16_bits_keep_their_size(captioned: Path, tmp_path: Path) -> None:
    encode(captioned, tmp_path / "out", Counting(scale=20_000.0), text=True)
    states = LatentFolder(tmp_path / "out").condition(torch.tensor([4]))["encoder_hidden_states"]
    torch.testing.assert_close(states[0, :, 0], torch.arange(6) * 20_000.0, rtol=2**-8, atol=0)


@pytest.mark.parametrize(("size", "reads_size"), [(512, False), (1024, True)])
def test_models_of_1024_pixels_read_the_size(captioned: Path, tmp_path: Path, size: int, reads_size: bool) -> None:
    out = tmp_path / "out"
    encode(captioned, out, Counting(), text=True)
    index = json.loads((out / "index.json").read_text())
    assert (index["captions"]["resolution"], index["captions"]["aspect_ratio"]) == ([16, 16], 1.0)
    index["captions"]["resolution"] = [size, size]  # in place of a minute's encoding
    (out / "index.json").write_text(json.dumps(index))
    data = LatentFolder(out)
    for found in (data.condition(torch.tensor([0, 1])), data.conditions.none(2), data.conditions.of_samples([3, 4])):
        assert ("resolution" in found) is reads_size
        if reads_size:
            assert found["resolution"].tolist() == [[1024.0, 1024.0]] * 2
            assert found["aspect_ratio"].tolist() == [[1.0]] * 2


def test_shards_are_plain_safetensors_in_half_precision(images: Path, tmp_path: Path) -> None:
    encode(images, tmp_path / "out", Counting())
    tensors = safetensors.torch.load_file(tmp_path / "out" / "shard-00002.safetensors")
    assert {name: (value.dtype, tuple(value.shape)) for name, value in tensors.items()} == {
        "latents": (torch.float16, (2, 3, 2, 2)),
        "labels": (torch.int64, (2,)),
    }

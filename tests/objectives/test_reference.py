"""References: files, folders and training data; computed once, kept under what they are made of, and never damaged."""

import os
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import Call
from PIL import Image

from flexsearch.data.crop import PREPARATION, centre_crop
from flexsearch.data.embedded import load_quickstart
from flexsearch.errors import UserError
from flexsearch.objectives.extractors import Extractor
from flexsearch.objectives.features import extract_features
from flexsearch.objectives.frechet import FeatureStatistics, feature_statistics
from flexsearch.objectives.real_images import Shape, TrainingImages
from flexsearch.objectives.reference import Reference, open_reference, reference_for
from flexsearch.objectives.reference_file import load_statistics

CPU = torch.device("cpu")
SHAPE = (3, 8, 8)


def never() -> Shape:
    """The shape of what must not be looked at."""
    raise AssertionError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven pictures in three formats, at two depths, and a text."""
    root = tmp_path / "real"
    (root / "inner").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (7, 12, 10, 3), dtype=np.uint8)
    names = ("a.png", "b.jpg", "c.webp", "inner/a.PNG", "inner/d.jpeg", "inner/e.png", "inner/f.png")
    for name, picture in zip(names, pixels, strict=True):
        Image.fromarray(picture).save(root / name)
    (root / "notes.txt").write_text("seven pictures")
    return root


def reference_of(
    path: Path | TrainingImages,
    extractor: Extractor,
    *,
    metrics: tuple = ("frechet",),
    is_objective: bool = True,
    shape: Callable[[], Shape] = partial(tuple, SHAPE),
) -> Reference:
    source = open_reference(path, metrics={extractor.name: metrics}) if isinstance(path, Path) else path
    return reference_for(source, extractor=extractor, metrics=metrics, shape=shape, batch=3, is_objective=is_objective)


def test_a_folder_is_read_once(folder: Path, toy: Call, cache: Path) -> None:
    first, second = toy(), toy()
    found = reference_of(folder, first)
    again = reference_of(folder, second, metrics=("frechet", "kernel"))
    assert (first.network.num_seen, second.network.num_seen) == (7, 0)
    assert torch.equal(found.features, again.features)
    assert (
        found.protocol
        == again.protocol
        == {
            "reference": found.features_protocol["reference"],
            "reference_images": 7,
            "reference_preparation": PREPARATION,
        }
    )
    (kept,) = cache.iterdir()
    assert kept.name.startswith(found.features_protocol["reference"])
    expected = feature_statistics(found.features)
    np.testing.assert_array_equal(again.statistics.covariance, expected.covariance)


def test_the_order_is_that_of_the_paths(folder: Path, toy: Call) -> None:
    files = open_reference(folder, metrics={"toy": ("frechet",)}).files
    assert list(files) == sorted(files)
    assert len(files) == 7
    with Image.open(folder / files[0]) as picture:
        expected = toy().network(centre_crop(picture, SHAPE)[None])
    assert torch.equal(reference_of(folder, toy()).features[:1], expected)


@pytest.mark.parametrize("change", ["a file more", "another time", "another name", "another size", "other weights"])
def test_what_changes_the_features_is_computed_again(folder: Path, toy: Call, change: str) -> None:
    before, extractor = reference_of(folder, toy()), toy()
    size = partial(tuple, SHAPE)
    if change == "a file more":
        Image.new("RGB", (8, 8)).save(folder / "z.png")
    elif change == "another time":
        os.utime(folder / "a.png", ns=(1, 1))
    elif change == "another name":
        (folder / "a.png").rename(folder / "aa.png")
    elif change == "another size":
        size = partial(tuple, (3, 4, 4))
    else:
        extractor = Extractor(
            name="toy", network=extractor.network, device=CPU, digest="others", channels=3, num_features=4
        )
    after = reference_of(folder, extractor, shape=size)
    assert extractor.network.num_seen >= 7
    assert (after.features_protocol["reference"] == before.features_protocol["reference"]) is (change == "another time")


def test_copies_on_two_machines_are_the_same_reference(folder: Path, toy: Call, tmp_path: Path) -> None:
    for index, file in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        copy = tmp_path / "copy" / file.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
        os.utime(copy, ns=(index, index))
    assert reference_of(tmp_path / "copy", toy()).protocol == reference_of(folder, toy()).protocol


@pytest.mark.parametrize("damage", ["text", "half", "nothing", "other arrays"])
def test_a_damaged_cache_is_computed_again(folder: Path, toy: Call, cache: Path, damage: str) -> None:
    before = reference_of(folder, toy())
    (kept,) = cache.iterdir()
    content = kept.read_bytes()
    if damage == "other arrays":
        np.savez(kept, features=np.zeros((7, 4)), mu=np.zeros(3), sigma=np.eye(4))
    else:
        kept.write_bytes({"text": b"hello", "half": content[: len(content) // 2], "nothing": b""}[damage])
    extractor = toy()
    after = reference_of(folder, extractor)
    assert extractor.network.num_seen == 7
    assert torch.equal(after.features, before.features)
    assert kept.read_bytes()[:2] == b"PK"
    assert [path.name for path in cache.iterdir()] == [kept.name]


def test_a_damaged_picture_is_named(folder: Path, toy: Call, cache: Path) -> None:
    content = (folder / "inner" / "e.png").read_bytes()
    (folder / "inner" / "e.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"objectives\.quality\.reference: .*inner/e\.png: cannot be read as an image"):
        reference_of(folder, toy())
    (folder / "inner" / "e.png").write_text("no picture")
    with pytest.raises(UserError, match=r"inner/e\.png"):
        reference_of(folder, toy())
    assert not list(cache.glob("*"))
    (folder / "inner" / "e.png").write_bytes(content)
    with pytest.raises(UserError, match="cannot be the reference of videos"):
        reference_of(folder, toy(), shape=lambda: (3, 4, 8, 8))


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "only.png")
    with pytest.raises(UserError, match=r"must hold at least 2 images .*but has 1"):
        open_reference(tmp_path, metrics={"toy": ("frechet",)})


def test_the_crop_is_the_middle_at_the_size_of_the_samples() -> None:
    wide = np.zeros((16, 48, 3), dtype=np.uint8)
    wide[:, 16:32] = (10, 20, 30)
    picture = Image.fromarray(wide)
    assert centre_crop(picture, (3, 16, 16)).float().mean((1, 2)).tolist() == [10, 20, 30]
    assert centre_crop(picture, (1, 16, 32)).shape == (1, 16, 32)
    assert centre_crop(picture, (3, 4, 4)).float().mean((1, 2)).tolist() == [10, 20, 30]
    assert centre_crop(picture, (3, 40, 40)).shape == (3, 40, 40)


def test_a_file_of_statistics_alone_looks_at_nothing(tmp_path: Path, toy: Call, cache: Path) -> None:
    np.savez(tmp_path / "adm.npz", mu=np.zeros(4), sigma=np.eye(4), mu_s=np.zeros(2), sigma_s=np.eye(2))
    extractor = toy()
    found = reference_of(tmp_path / "adm.npz", extractor, shape=never)
    assert found.features is None
    assert found.protocol == {"reference": found.statistics.digest}
    assert extractor.network.num_seen == 0
    assert not cache.exists()
    np.savez(tmp_path / "inception.npz", mu=np.zeros(2048), sigma=np.zeros((2048, 2048)))
    with pytest.raises(UserError, match=r"inception\.npz: must hold features of toy \(4\), but got 2048"):
        reference_of(tmp_path / "inception.npz", toy())
    saved = FeatureStatistics(mean=np.arange(3.0), covariance=np.eye(3))
    saved.save(tmp_path / "ours.npz")
    assert load_statistics(tmp_path / "ours.npz").digest == saved.digest


def test_adm_files_give_their_statistics_and_their_images(tmp_path: Path, toy: Call) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "adm.npz", arr_0=pixels, mu=np.full(4, 0.5), sigma=np.eye(4))
    expected = extract_features(torch.from_numpy(pixels).permute(0, 3, 1, 2), extractor=toy())
    own = reference_of(tmp_path / "adm.npz", toy(), metrics=("frechet", "recall"))
    assert own.statistics.mean.tolist() == [0.5] * 4
    assert torch.equal(own.features, expected)
    assert own.features_protocol == {"reference": own.features_protocol["reference"], "reference_images": 9}
    other = reference_of(tmp_path / "adm.npz", toy(), is_objective=False)
    np.testing.assert_allclose(other.statistics.mean, expected.double().mean(0).numpy())
    np.savez(tmp_path / "samples.npz", arr_0=np.full((5, 16, 16, 3), 255, dtype=np.uint8))
    alone = reference_of(tmp_path / "samples.npz", toy())
    assert alone.statistics.mean.tolist() == [1.0] * 4
    assert alone.protocol["reference_preparation"] == PREPARATION, "they are brought to size"
    np.savez(tmp_path / "few.npz", arr_0=np.zeros((3, 8, 8, 3), dtype=np.uint8))
    with pytest.raises(UserError, match="at least 4 images for precision and recall, but got 3"):
        reference_of(tmp_path / "few.npz", toy(), metrics=("frechet", "precision"))


def test_statistics_alone_do_not_serve_metrics_of_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "half.npz", mu=np.zeros(4), sigma=np.eye(4))
    for metrics, named in (
        ({"inception": ("frechet", "precision")}, "precision on inception"),
        ({"inception": ("kernel",)}, "kernel on inception"),
        ({"inception": ("frechet",), "dinov2": ("frechet",)}, "frechet on dinov2"),
    ):
        with pytest.raises(UserError, match=rf"half\.npz: has mu and sigma only, but {named} must see the real images"):
            open_reference(tmp_path / "half.npz", metrics=metrics)


def test_bad_files_are_named(tmp_path: Path, toy: Call) -> None:
    with pytest.raises(UserError, match=r"objectives\.quality\.reference: .*missing\.npz: does not exist"):
        load_statistics(tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.savez(tmp_path / "half.npz", mu=np.zeros(3))
    np.savez(tmp_path / "shapes.npz", mu=np.zeros(3), sigma=np.eye(4))
    np.savez(tmp_path / "objects.npz", mu=np.array([{}], dtype=object), sigma=np.eye(1))
    np.savez(tmp_path / "words.npz", mu=np.array(["a"]), sigma=np.array([["b"]]))
    np.savez(tmp_path / "whole.npz", mu=np.zeros(3), sigma=np.eye(3))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:200])
    for name in ("missing", "text", "empty", "half", "shapes", "objects", "words", "cut"):
        with pytest.raises(UserError, match=rf"{name}\.npz"):
            open_reference(tmp_path / f"{name}.npz", metrics={"toy": ("frechet",)})
    np.savez(tmp_path / "floats.npz", arr_0=np.zeros((4, 8, 8, 3)))
    np.savez(tmp_path / "pickles.npz", arr_0=np.array([{}], dtype=object))
    for name in ("floats", "pickles"):
        with pytest.raises(UserError, match=rf"{name}\.npz"):
            reference_of(tmp_path / f"{name}.npz", toy())


def test_flipped_bits_in_a_file_are_noticed(tmp_path: Path) -> None:
    np.savez(tmp_path / "bits.npz", mu=np.zeros(30), sigma=np.eye(30))
    content = bytearray((tmp_path / "bits.npz").read_bytes())
    with zipfile.ZipFile(tmp_path / "bits.npz") as archive:
        content[archive.getinfo("sigma.npy").header_offset + 400] ^= 1
    (tmp_path / "bits.npz").write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"bits\.npz: cannot be read \(Bad CRC-32"):
        load_statistics(tmp_path / "bits.npz")


def training_images(num: int, **changes: object) -> TrainingImages:
    source = {"data": {"name": "quickstart"}, **changes}
    return TrainingImages(data=load_quickstart(), decode=lambda data: data, device=CPU, num=num, source=source)


def test_training_data_are_evenly_spaced_and_kept(toy: Call) -> None:
    data, first, second = load_quickstart(), toy(channels=1), toy(channels=1)
    for extractor in (first, second):
        found = reference_of(training_images(20), extractor, metrics=("kernel",), shape=never)
        assert torch.equal(found.features, toy().network(data.images[::500]))
        assert found.protocol == {"reference": found.features_protocol["reference"], "reference_images": 20}
    assert (first.network.num_seen, second.network.num_seen) == (20, 0)


def test_other_training_data_are_other_references(toy: Call) -> None:
    made = [training_images(20), training_images(21), training_images(20, base="other")]
    references = [reference_of(images, toy(channels=1), shape=never) for images in made]
    assert len({one.features_protocol["reference"] for one in references}) == 3
    assert len(training_images(50_000)) == 10_000

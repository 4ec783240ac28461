"""Folders of images: order, classes, captions, frames; and errors that name the file."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from builders import Call
from PIL import Image

from flexsearch.data.crop import read_cropped
from flexsearch.data.image_folder import open_image_folder
from flexsearch.errors import UserError


@pytest.fixture
def paint(tmp_path: Path) -> Call:
    """Writes a picture below `tmp_path / "images"`."""
    generator = np.random.default_rng(0)

    def write(name: str, *, width: int = 20, height: int = 16) -> Path:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
        return path

    return write


def list_captions(root: Path, captions: dict[str, str]) -> None:
    lines = [json.dumps({"file": name, "caption": caption}) for name, caption in captions.items()]
    (root / "captions.jsonl").write_text("\n".join(lines) + "\n")


def test_classes_are_in_the_order_of_torchvision(tmp_path: Path, paint: Call) -> None:
    root = tmp_path / "images"
    for name in ("b/2.png", "b/10.png", "a-b/x.png", "a/z/1.JPEG", "a/y.webp", "a/z-z/1.png"):
        paint(name)
    (root / "a" / "notes.md").write_text("no image")
    expected = torchvision.datasets.ImageFolder(str(root / "."))
    paint(".hidden/1.png")  # to torchvision a class
    found = open_image_folder(root)
    shown = [name for name, _ in expected.samples]
    assert [str(root / name) for name in found.names] == [str(Path(name)) for name in shown]
    assert list(found.labels) == [label for _, label in expected.samples]
    assert list(found.class_names) == expected.classes == ["a", "a-b", "b"]


def test_captions_from_a_listing_and_from_files_beside(tmp_path: Path, paint: Call) -> None:
    root = tmp_path / "images"
    for name in ("one.png", "sub/two.png"):
        paint(name)
        (root / name).with_suffix(".txt").write_text(f"beside {name}\n")
    beside = open_image_folder(root)
    assert beside.names == ["one.png", "sub/two.png"]
    assert beside.captions == ["beside one.png", "beside sub/two.png"]
    assert not beside.labels
    list_captions(root, {"sub/two.png": "Zwei", "one.png": "Eins"})
    listed = open_image_folder(root)
    assert listed.captions == ["Eins", "Zwei"]
    assert listed.digest() != beside.digest()
    with pytest.raises(UserError, match=r"one\.png: is not in a class folder"):
        open_image_folder(root, captions=False)


def test_frames_of_videos_are_evenly_spaced_and_in_order(tmp_path: Path, paint: Call) -> None:
    root = tmp_path / "images"
    for frame in range(12):
        paint(f"run/clip/frame{frame}.png")
        paint(f"walk/clip/{frame:03d}.png")
    found = open_image_folder(root, frames=4)
    assert found.names == ["run/clip", "walk/clip"]
    assert found.files[0] == [f"run/clip/frame{frame}.png" for frame in (0, 3, 7, 11)]
    assert found.files[1] == [f"walk/clip/{frame:03d}.png" for frame in (0, 3, 7, 11)]
    assert list(found.labels) == [0, 1]
    assert open_image_folder(root, frames=1).files[1] == ["walk/clip/000.png"]
    list_captions(root, {"run/clip/": "running", "walk/clip": "walking"})
    assert open_image_folder(root, frames=4).captions == ["running", "walking"]
    with pytest.raises(UserError, match=r"run/clip: must hold at least 13 frames, but has 12"):
        open_image_folder(root, frames=13)


def test_captions_of_videos_beside_their_folders(tmp_path: Path, paint: Call) -> None:
    for video in ("v1.0", "v2.0"):
        paint(f"{video}/0.png")
        (tmp_path / "images" / f"{video}.txt").write_text(f"clip {video}")
    assert open_image_folder(tmp_path / "images", frames=1).captions == ["clip v1.0", "clip v2.0"]


def test_errors_name_the_file(tmp_path: Path, paint: Call) -> None:
    root = tmp_path / "images"
    with pytest.raises(UserError, match=r"images: must be a folder"):
        open_image_folder(root)
    root.mkdir()
    with pytest.raises(UserError, match=r"images: holds no images \(\.jpg"):
        open_image_folder(root)
    paint("cats/1.png")
    with pytest.raises(UserError, match=r"images/cats: is not in a class folder"):
        open_image_folder(root, frames=1)
    (root / "dogs").mkdir()
    with pytest.raises(UserError, match=r"images/dogs: is a class folder without images"):
        open_image_folder(root)
    paint("loose.png")
    with pytest.raises(UserError, match=r"images/loose\.png: is not in a class folder.*captions\.jsonl"):
        open_image_folder(root)
    with pytest.raises(UserError, match=r"images/loose\.png: lies outside of any folder of frames"):
        open_image_folder(root, frames=1)
    (root / "loose.txt").write_text("a caption")
    with pytest.raises(UserError, match=r"cats/1\.txt: is missing: the caption of .*cats/1\.png"):
        open_image_folder(root)
    (root / "cats" / "1.txt").write_text(" \n")
    with pytest.raises(UserError, match=r"cats/1\.txt: must hold a caption, but is empty"):
        open_image_folder(root)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("not json", r"line 1: must be \{"),
        ('["a.png"]', r"line 1: must be \{"),
        ('{"file": "a.png"}', r"line 1: must be \{"),
        *(
            (f'{{"file": "a.png", "caption": {caption}}}', "line 1: file and caption must be text and not empty")
            for caption in ('""', '" "', "3")
        ),
        ('\n{"file": "c.png", "caption": "c"}', "line 2: names c.png, which is not among the 2 items"),
        ('{"file": "a.png", "caption": "c"}\n{"file": "./a.png", "caption": "d"}', r"line 2: gives a\.png a second"),
        ('{"file": "a.png", "caption": "c"}', r"b\.png: has no caption in .*captions\.jsonl \(1 have none\)"),
    ],
)
def test_listings_that_do_not_fit(tmp_path: Path, paint: Call, lines: str, message: str) -> None:
    for name in ("a.png", "b.png"):
        paint(name)
    (tmp_path / "images" / "captions.jsonl").write_text(lines)
    with pytest.raises(UserError, match=message):
        open_image_folder(tmp_path / "images")


def test_the_crop_is_the_middle_at_the_size_of_the_shorter_side(tmp_path: Path, paint: Call) -> None:
    path = paint("wide.png", width=30, height=16)
    middle = np.array(Image.open(path))[:, 7:23]
    assert torch.equal(read_cropped(path, (3, 16, 16)), torch.from_numpy(middle).permute(2, 0, 1))
    for width, height in ((100, 37), (33, 200), (8, 9), (32, 32)):
        assert read_cropped(paint("any.png", width=width, height=height), (3, 16, 16)).shape == (3, 16, 16)
    grey = tmp_path / "grey.png"
    Image.new("L", (16, 16), 70).save(grey)
    assert read_cropped(grey, (3, 16, 16)).unique().tolist() == [70]


def test_damaged_images_are_named(tmp_path: Path, paint: Call) -> None:
    path = paint("whole.png", width=200, height=200)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"whole\.png: cannot be read as an image \(image file is truncated"):
        read_cropped(path, (3, 16, 16))
    path.write_text("text")
    with pytest.raises(UserError, match=r"whole\.png: cannot be read as an image"):
        read_cropped(path, (3, 16, 16))

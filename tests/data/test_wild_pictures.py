"""Pictures and folders as people have them: one opener shows them as a viewer does, one lister finds them."""

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from flexsearch.data.crop import centre_crop, read_cropped
from flexsearch.data.image_folder import open_image_folder
from flexsearch.data.pictures import open_picture, scan_pictures
from flexsearch.data.pixel_folder import load_pixels
from flexsearch.errors import Note, UserError
from flexsearch.objectives.real_images import list_folder

CLEAR_DISC = np.indices((16, 16)).sum(0) < 12


def white_left() -> Image.Image:
    """A third of 12 x 9 is white, at the left."""
    pixels = np.zeros((9, 12), np.uint8)
    pixels[:, :4] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize(
    ("orientation", "place"),
    [
        (1, np.s_[:, :3]),
        (2, np.s_[:, -3:]),
        (3, np.s_[:, -3:]),
        (5, np.s_[:3]),
        (6, np.s_[:3]),
        (7, np.s_[-3:]),
        (8, np.s_[-3:]),
    ],
)
def test_a_turned_picture_is_upright(tmp_path: Path, suffix: str, orientation: int, place: object) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    white_left().convert("RGB").save(tmp_path / f"x.{suffix}", exif=exif)
    levels = np.asarray(open_picture(tmp_path / f"x.{suffix}").convert("L"))
    assert levels.shape == ((9, 12) if orientation < 5 else (12, 9))
    assert levels[place].mean() > 240  # type: ignore[call-overload]
    assert levels.mean() < 100


RAMP = np.tile(np.linspace(0, 65_535, 64).astype(np.uint16), (4, 1))


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("x.png", RAMP),
        ("x.tif", RAMP),
        ("x.tif", RAMP.astype(np.int32)),
        ("x.tif", (RAMP / 65_535).astype(np.float32)),
        ("x.pgm", RAMP),
    ],
    ids=["png16", "tif16", "tif32", "float", "pgm16"],
)
def test_deep_levels_are_scaled(tmp_path: Path, name: str, levels: np.ndarray) -> None:
    Image.fromarray(levels).save(tmp_path / name)
    found = open_picture(tmp_path / name)
    assert found.mode == "L"
    assert np.abs(np.asarray(found).astype(float) - RAMP / 257).max() <= 0.5


def retag(path: Path, **tags: int) -> Path:
    """Change tags of a TIFF in which each holds one number."""
    content = path.read_bytes()
    for name, value in tags.items():
        number = {"width": 256, "bits": 258, "photometric": 262, "format": 339}[name]
        place = content.index(struct.pack("<HH", number, 4 if name == "width" else 3) + struct.pack("<I", 1)) + 8
        content = content[:place] + struct.pack("<I", value) + content[place + 4 :]
    path.write_bytes(content)
    return path


def test_deep_levels_are_scaled_as_their_file_says(tmp_path: Path) -> None:
    """0 may be white, and white may be the largest of 12 bits."""
    Image.fromarray(RAMP).save(tmp_path / "x.tif")
    found = np.asarray(open_picture(retag(tmp_path / "x.tif", photometric=0))).astype(float)
    assert np.abs(found - (255 - RAMP / 257)).max() <= 0.5
    Image.fromarray(np.array([[0xFF, 0xF8, 0x00]], np.uint8)).save(tmp_path / "x.tif")
    path = retag(tmp_path / "x.tif", width=2, bits=12)
    assert np.asarray(open_picture(path)).tolist() == [[255, 128]]


@pytest.mark.parametrize("most", [1.5, np.nan, -1.0, np.inf])
def test_levels_without_a_known_scale_are_refused(tmp_path: Path, most: float) -> None:
    Image.fromarray(np.full((4, 4), most, np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(UserError, match=r"x\.tif.*levels must be in 0 to 1"):
        open_picture(tmp_path / "x.tif")


def test_levels_with_a_sign_are_refused(tmp_path: Path) -> None:
    """16 bits of them end at 32,767, or at 65,535 if a program only forgot to say that they have no sign."""
    Image.fromarray((RAMP // 2).astype(np.int32)).save(tmp_path / "x.tif")
    assert open_picture(tmp_path / "x.tif").mode == "L"  # 32 bits, as Pillow saves what it has scaled itself
    with pytest.raises(UserError, match=r"x\.tif.*with a sign have no known white"):
        open_picture(retag(tmp_path / "x.tif", bits=16))


def clear_picture(mode: str) -> tuple[Image.Image, dict[str, int]]:
    """Black below CLEAR_DISC, and transparent outside, where grey hides."""
    alpha, hidden = np.where(CLEAR_DISC, 255, 0).astype(np.uint8), np.where(CLEAR_DISC, 0, 77).astype(np.uint8)
    if mode == "P":
        palette = Image.fromarray(CLEAR_DISC.astype(np.uint8), "P")
        palette.putpalette([255, 0, 255, 0, 0, 0])
        return palette, {"transparency": 0}
    if mode == "L":
        return Image.fromarray(hidden), {"transparency": 77}
    if mode == "I;16":
        return Image.fromarray(hidden.astype(np.uint16)), {"transparency": 77}
    picture = Image.fromarray(hidden).convert(mode)
    picture.putalpha(Image.fromarray(alpha))
    return picture, {}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "I;16"])
def test_what_is_transparent_is_white(tmp_path: Path, mode: str) -> None:
    picture, options = clear_picture(mode)
    picture.save(tmp_path / "x.png", **options)
    levels = np.asarray(open_picture(tmp_path / "x.png").convert("L"))
    assert np.array_equal(levels, np.where(CLEAR_DISC, 0, 255))


def png(*, bits: int, kind: int, row: bytes, clear: bytes) -> bytes:
    """A picture of 4 x 1 with a transparent level or colour."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", 4, 1, bits, kind, 0, 0, 0)
    parts = (b"IHDR", head), (b"tRNS", clear), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize(("bits", "row", "clear"), [(2, b"\x1b", 1), (4, b"\x05\xaf", 5)])
def test_a_transparent_level_of_few_bits_is_white(tmp_path: Path, bits: int, row: bytes, clear: int) -> None:
    (tmp_path / "x.png").write_bytes(png(bits=bits, kind=0, row=row, clear=struct.pack(">H", clear)))
    assert np.asarray(open_picture(tmp_path / "x.png")).tolist() == [[0, 255, 170, 255]]


def test_a_transparent_colour_of_16_bits_is_refused(tmp_path: Path) -> None:
    content = png(
        bits=16, kind=2, row=struct.pack(">3H", 1000, 2000, 3000) * 4, clear=struct.pack(">3H", 1000, 2000, 3000)
    )
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.png: a colour of 16 bits is transparent"):
        open_picture(tmp_path / "x.png")


def test_a_strip_takes_no_more_memory_than_a_picture() -> None:
    image = Image.new("L", (6000, 1), 128)
    taken: list[int] = []
    resize = Image.Image.resize

    def counted(self: Image.Image, size: tuple[int, int], *arguments: object, **options: object) -> Image.Image:
        taken.append(size[0] * size[1])
        return resize(self, size, *arguments, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image.Image, "resize", counted)
        assert centre_crop(image, (3, 64, 64)).unique().tolist() == [128]
    assert max(taken) <= 10 * 64 * 64


def test_whatever_pillow_raises_names_the_file(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "x" * (1 << 21), zip=True)
    (tmp_path / "a").mkdir()
    white_left().save(tmp_path / "a" / "text.png", pnginfo=info)
    with pytest.raises(UserError, match=r"text\.png: cannot be read as an image"):
        load_pixels(tmp_path, size=8)


def test_all_broken_files_are_named_at_once(tmp_path: Path) -> None:
    white_left().save(tmp_path / "whole.png")
    for number in range(12):
        (tmp_path / f"{number}.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"holds 12 files that cannot be read as images: 0\.jpg, .*9\.jpg, \.\.\.;"):
        scan_pictures(sorted(tmp_path.iterdir(), key=lambda path: path.name.zfill(9)))


@pytest.fixture
def paint(tmp_path: Path) -> Callable[[str], None]:
    def write(name: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        kind = {".jfif": "JPEG", ".avif": "AVIF"}.get(Path(name).suffix)
        Image.new("RGB", (8, 8), (90, 20, 200)).save(tmp_path / name, kind)

    return write


def test_what_systems_leave_is_passed_over_and_counted(tmp_path: Path, paint: Callable[[str], None]) -> None:
    for name in ("a/1.png", "a/2.png", "a/.ipynb_checkpoints/1-checkpoint.png"):
        paint(name)
    (tmp_path / "$Recycle.Bin").mkdir()
    (tmp_path / "__MACOSX" / "a").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "a" / "._1.png").write_bytes(b"\0\5\26\7")
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "a" / "notes.md").write_text("")
    with pytest.warns(Note, match="passed over 5: .*1 .md"):
        found = open_image_folder(tmp_path)
    assert list(found.names) == ["a/1.png", "a/2.png"]
    with pytest.warns(Note, match="passed over 5"):
        assert [path.as_posix() for path in list_folder(tmp_path)] == ["a/1.png", "a/2.png"]


def test_every_suffix_that_pillow_reads_is_a_picture(tmp_path: Path, paint: Callable[[str], None]) -> None:
    for index, suffix in enumerate(("png", "gif", "jfif", "avif", "PNG")):
        paint(f"a/{index}.{suffix}")
    assert len(load_pixels(tmp_path, size=8)) == 5


def test_classes_that_are_numbers_have_their_labels(tmp_path: Path, paint: Callable[[str], None]) -> None:
    for label in range(12):
        paint(f"{label}/x.png")
    found = open_image_folder(tmp_path)
    assert list(found.class_names) == [str(label) for label in range(12)]
    assert found.labels == [int(name.split("/")[0]) for name in found.names]
    paint("cat/x.png")
    with pytest.warns(Note, match=r"labels are 0 0, 1 1, 2 10, \.\.\."):
        assert open_image_folder(tmp_path).class_names[:3] == ["0", "1", "10"]


@pytest.mark.filterwarnings("ignore::flexsearch.errors.Note")
def test_links_and_pipes_end(tmp_path: Path, paint: Callable[[str], None]) -> None:
    root = tmp_path / "images"
    paint("images/a/1.png")
    paint("images/a/2.png")
    paint("elsewhere/3.png")
    for number in range(4):
        (root / "a" / f"l{number}").symlink_to("..")
    (root / "a" / "other").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(root / "a" / "x.png")
    assert list(open_image_folder(root).names) == ["a/1.png", "a/2.png", "a/other/3.png"]
    assert len(list_folder(root)) == 3
    for name, target in (("gone.png", tmp_path / "nowhere"), ("loop.png", "loop.png")):
        (root / "a" / name).symlink_to(target)
        with pytest.raises(UserError, match=rf"{name}: cannot be read"):
            list_folder(root)
        (root / "a" / name).unlink()


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv", "METADATA.CSV"])
def test_listings_of_other_programs_are_read(tmp_path: Path, paint: Callable[[str], None], name: str) -> None:
    paint("0.png")
    paint("sub/1.png")
    if name.lower().endswith("csv"):
        (tmp_path / name).write_text('file_name,text\n0.png,"a cat, red"\nsub/1.png,a dog\n')
    else:
        lines = [{"file_name": "0.png", "text": "a cat, red"}, {"file_name": "sub/1.png", "text": "a dog"}]
        (tmp_path / name).write_text("\n".join(map(json.dumps, lines)))
    assert open_image_folder(tmp_path).captions == ["a cat, red", "a dog"]


@pytest.mark.parametrize("name", ["captions.jsonl", "metadata.jsonl", "metadata.csv"])
def test_a_listing_that_would_not_be_read_is_refused(tmp_path: Path, paint: Callable[[str], None], name: str) -> None:
    paint("train/0.png")
    (tmp_path / "train" / name).write_text('{"file_name": "0.png", "text": "a cat"}\n')
    with pytest.raises(UserError, match=rf"train/{name}: must lie in"):
        open_image_folder(tmp_path)


def test_captions_that_would_be_lost_are_refused_or_counted(tmp_path: Path, paint: Callable[[str], None]) -> None:
    paint("a/1.png")
    (tmp_path / "a" / "1.TXT").write_text("a cat")
    assert open_image_folder(tmp_path).captions == ["a cat"]
    (tmp_path / "metadata.csv").write_text("file_name,text\na/1.png,a dog\n")
    with pytest.warns(Note, match=r"passed over 1: 1 \.txt"):
        assert open_image_folder(tmp_path).captions == ["a dog"]
    (tmp_path / "metadata.csv").write_text("file_name,text\na/1.png,a cat, red\n")
    with pytest.raises(UserError, match=r"metadata\.csv, line 2: has more fields than columns"):
        open_image_folder(tmp_path)
    (tmp_path / "captions.jsonl").touch()
    with pytest.raises(UserError, match=r"captions\.jsonl: lists captions, and so does metadata\.csv; keep one"):
        open_image_folder(tmp_path)


@pytest.mark.parametrize("broken", ['"half \\ud800"', '" "', "3"])
def test_a_caption_is_text(tmp_path: Path, paint: Callable[[str], None], broken: str) -> None:
    paint("1.png")
    (tmp_path / "captions.jsonl").write_text(f'{{"file": "1.png", "caption": {broken}}}')
    with pytest.raises(UserError, match=r"captions\.jsonl, line 1: file and caption must be text and not empty"):
        open_image_folder(tmp_path)


def test_ordinary_pictures_are_cropped_as_before(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    image = Image.fromarray(pixels).resize((25, 20), Image.Resampling.BOX).resize((20, 16), Image.Resampling.BICUBIC)
    expected = np.asarray(image.crop((2, 0, 18, 16)))
    assert np.array_equal(read_cropped(tmp_path / "x.png", (3, 16, 16)).permute(1, 2, 0), expected)

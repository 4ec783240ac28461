"""Listing of a folder of images, or of videos as folders of frames: items, their order, classes and captions.

Labels: `IMAGES/<class>/**/<image>`, classes and images in the order of torchvision's `ImageFolder`. Captions:
`IMAGES/**/<image>` with `captions.jsonl` or `.txt` files (`flexsearch.data.captions`). Videos: the same, with a folder
of frame images in place of `<image>`. Hidden files and folders are passed over. An *item* is an image or a video.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flexsearch.data.captions import has_captions, read_captions
from flexsearch.errors import UserError
from flexsearch.measurement import short_digest

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Names of files that are images, those of torchvision's `ImageFolder`."""


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """A listed folder. Either `labels` and `class_names`, or `captions`, are empty.

    Attributes:
        root: the folder.
        names: of the items: paths below `root`, in order.
        files: per item, the image file or the chosen frames, as paths below `root`.
        labels: per item, an index of `class_names`.
        class_names: the class folders, sorted.
        captions: per item.
    """

    root: Path
    names: Sequence[str]
    files: Sequence[Sequence[str]]
    labels: Sequence[int] = ()
    class_names: Sequence[str] = ()
    captions: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.names)

    def digest(self) -> str:
        """Identify items, order, classes and captions; not the pixels."""
        contents = (list(self.files), list(self.labels), list(self.class_names), list(self.captions))
        return short_digest(contents)


def open_image_folder(root: Path, *, frames: int | None = None, captions: bool = True) -> ImageFolder:
    """List a folder.

    Args:
        root: the folder.
        frames: None for images; for videos, how many frames to take of each, evenly spaced, first and last included.
        captions: whether captions are taken where there are any; without, items need class folders.

    Raises:
        UserError: there is nothing, a class folder is empty, a caption is missing or a video too short; names it.
    """
    if not root.is_dir():
        raise UserError("must be a folder of images, but is none", field=str(root))
    found = dict(_items(root, videos=frames is not None))
    if not found:
        raise UserError(f"holds no {_kind(frames)} ({', '.join(SUFFIXES)})", field=str(root))
    has_text = captions and has_captions(root, found)
    names = sorted(found) if has_text else list(found)
    files = [[name] if frames is None else _spaced(root, name, found[name], frames) for name in names]
    if has_text:
        return ImageFolder(root=root, names=names, files=files, captions=read_captions(root, names))
    class_names = _class_names(root, found, _kind(frames))
    indices = {name: index for index, name in enumerate(class_names)}
    labels = [indices[name.split("/", 1)[0]] for name in names]
    return ImageFolder(root=root, names=names, files=files, labels=labels, class_names=class_names)


def _kind(frames: int | None) -> str:
    return "images" if frames is None else "folders of frame images"


def _items(root: Path, *, videos: bool) -> Iterator[tuple[str, list[str]]]:
    """Find images, or folders that have images directly in them, with those images; in `ImageFolder`'s order: folders
    by their path, then files by their name."""
    for folder, inner, files in sorted(
        _walk(root), key=lambda entry: (Path(entry[0]).relative_to(root).parts[:1], entry)
    ):
        images = sorted(name for name in files if name.lower().endswith(SUFFIXES) and not name.startswith("."))
        below = Path(folder).relative_to(root)
        if not videos:
            yield from (((below / name).as_posix(), []) for name in images)
        elif images and below == Path():
            raise UserError(
                "lies outside of any folder of frames; every video is a folder", field=str(root / images[0])
            )
        elif images:
            if any(not name.startswith(".") for name in inner):
                raise UserError("holds images and folders; a video's folder holds frames alone", field=folder)
            yield below.as_posix(), images


def _walk(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    for folder, inner, files in os.walk(root, followlinks=True):
        inner[:] = [name for name in inner if not name.startswith(".")]
        yield folder, inner, files


def _class_names(root: Path, found: dict[str, list[str]], kind: str) -> list[str]:
    """List the class folders, and check that every one has an item and every item is in one."""
    for name in found:
        if "/" not in name:
            raise UserError(
                f"is not in a class folder; sort the {kind} into one folder per class, or give all of them captions "
                '({"file": ..., "caption": ...} lines in captions.jsonl, or a .txt beside each)',
                field=str(root / name),
            )
    folders = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    used = {name.split("/", 1)[0] for name in found}
    for folder in folders:
        if folder not in used:
            raise UserError(f"is a class folder without {kind}", field=str(root / folder))
    return folders


def _spaced(root: Path, name: str, images: Sequence[str], frames: int) -> list[str]:
    if len(images) < frames:
        raise UserError(f"must hold at least {frames} frames, but has {len(images)}", field=str(root / name))
    ordered = sorted(images, key=_by_number)
    chosen = [index * (len(ordered) - 1) // max(frames - 1, 1) for index in range(frames)]
    return [f"{name}/{ordered[index]}" for index in chosen]


def _by_number(name: str) -> list[tuple[int, str]]:
    """Give a key that sorts frame10 after frame9; zero-padded names keep their order."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]

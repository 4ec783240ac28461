"""Listing of a folder of images, or of videos as folders of frames: items, their order, classes and captions.

Labels: `IMAGES/<class>/**/<image>`, classes and images in the order of torchvision's `ImageFolder`, but for classes
that are numbers. Captions:
`IMAGES/**/<image>` with `captions.jsonl` or `.txt` files (`flexsearch.data.captions`). Videos: the same, with a folder
of frame images in place of `<image>`. What is passed over: `flexsearch.data.folder`. An *item* is an image or a video.
"""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flexsearch.data.captions import LISTINGS, has_captions, listing_of, read_captions
from flexsearch.data.folder import Folder, list_folders
from flexsearch.data.pictures import SUFFIXES
from flexsearch.errors import Note, UserError
from flexsearch.measurement import short_digest

_SHOWN = 3  # labels in a note


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """A listed folder. Either `labels` and `class_names`, or `captions`, are empty.

    Attributes:
        root: the folder.
        names: of the items: paths below `root`, in order.
        files: per item, the image file or the chosen frames, as paths below `root`.
        labels: per item, an index of `class_names`.
        class_names: the class folders, in the order of their labels.
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
    sidecars = (".txt",) if captions and listing_of(root) is None else ()
    folders = list_folders(root, suffixes=SUFFIXES, read_too=(*LISTINGS, *sidecars) if captions else ())
    found = dict(_items(root, folders, videos=frames is not None))
    if not found:
        raise UserError(f"holds no {_kind(frames)} ({', '.join(SUFFIXES)})", field=str(root))
    if captions:
        _check_listings(root, folders)
    has_text = captions and has_captions(root, found)
    names = sorted(found) if has_text else list(found)
    files = [[name] if frames is None else _spaced(root, name, found[name], frames) for name in names]
    if has_text:
        return ImageFolder(root=root, names=names, files=files, captions=read_captions(root, names))
    class_names = _class_names(root, found, folders[0].folders, _kind(frames))
    indices = {name: index for index, name in enumerate(class_names)}
    labels = [indices[name.split("/", 1)[0]] for name in names]
    return ImageFolder(root=root, names=names, files=files, labels=labels, class_names=class_names)


def _check_listings(root: Path, folders: Sequence[Folder]) -> None:
    """Refuse a listing of captions that would not be read."""
    for folder in folders[1:]:
        for name in folder.others:
            if name.lower() in LISTINGS:
                raise UserError(f"must lie in {root}, with paths from there", field=str(root / folder.path / name))


def _kind(frames: int | None) -> str:
    return "images" if frames is None else "folders of frame images"


def _items(root: Path, folders: Sequence[Folder], *, videos: bool) -> Iterator[tuple[str, Sequence[str]]]:
    """Find images, or folders that have images directly in them, with those images; in `ImageFolder`'s order: folders
    by their path, then files by their name."""
    for folder in sorted(folders, key=lambda folder: (folder.path.parts[:1], str(root / folder.path))):
        if not videos:
            yield from (((folder.path / name).as_posix(), []) for name in folder.files)
        elif folder.files and folder.path == Path():
            raise UserError(
                "lies outside of any folder of frames; every video is a folder", field=str(root / folder.files[0])
            )
        elif folder.files:
            if folder.folders:
                raise UserError(
                    "holds images and folders; a video's folder holds frames alone", field=str(root / folder.path)
                )
            yield folder.path.as_posix(), folder.files


def _class_names(root: Path, found: Mapping[str, Sequence[str]], folders: Sequence[str], kind: str) -> list[str]:
    """List the class folders in the order of their labels, whole numbers by their value, and check that every one has
    an item and every item is in one."""
    for name in found:
        if "/" not in name:
            raise UserError(
                f"is not in a class folder; sort the {kind} into one folder per class, or give all of them captions "
                '({"file": ..., "caption": ...} lines in captions.jsonl, or a .txt beside each)',
                field=str(root / name),
            )
    used = {name.split("/", 1)[0] for name in found}
    for folder in folders:
        if folder not in used:
            raise UserError(f"is a class folder without {kind}; delete it if it is no class", field=str(root / folder))
    if all(folder.isdecimal() for folder in folders):
        return sorted(folders, key=lambda folder: (int(folder), folder))
    if len(folders) > 1:
        labels = ", ".join(f"{label} {folder}" for label, folder in enumerate(folders[:_SHOWN]))
        warnings.warn(f"{root}: labels are {labels}{', ...' if len(folders) > _SHOWN else ''}", Note, stacklevel=2)
    return list(folders)


def _spaced(root: Path, name: str, images: Sequence[str], frames: int) -> list[str]:
    if len(images) < frames:
        raise UserError(f"must hold at least {frames} frames, but has {len(images)}", field=str(root / name))
    ordered = sorted(images, key=_by_number)
    chosen = [index * (len(ordered) - 1) // max(frames - 1, 1) for index in range(frames)]
    return [f"{name}/{ordered[index]}" for index in chosen]


def _by_number(name: str) -> list[tuple[int, str]]:
    """Give a key that sorts frame10 after frame9; zero-padded names keep their order."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]

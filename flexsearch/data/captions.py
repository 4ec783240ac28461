"""Captions of images or videos: `captions.jsonl` in their folder, or a `.txt` file beside each.

Captions alone, of images to be drawn, are the lines of a text file.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from flexsearch.errors import UserError

LISTING = "captions.jsonl"


def has_captions(root: Path, names: Iterable[str]) -> bool:
    """Tell whether the folder has a listing, or any of the items a `.txt` beside it."""
    return (root / LISTING).exists() or any(_sidecar(root, name).exists() for name in names)


def read_captions(root: Path, names: Sequence[str]) -> list[str]:
    """Read one caption per item.

    Args:
        root: folder of the items. Its `captions.jsonl` is read if it has one; sidecar files are ignored then.
        names: paths of the images, or of the folders of frames, relative to `root`.

    Raises:
        UserError: an item has no caption or two, a caption has no item, or a line is not
            `{"file": ..., "caption": ...}`; names the file.
    """
    if (root / LISTING).exists():
        return _listed(root, names)
    return [_beside(root, name) for name in names]


def read_lines(path: Path) -> list[str]:
    """Read a file with a caption on every line; empty lines do not count.

    Raises:
        UserError: it cannot be read, or holds none.
    """
    captions = [line.strip() for line in _text(path).split("\n") if line.strip()]
    if not captions:
        raise UserError("must hold a caption on every line, but is empty", field=str(path))
    return captions


def _listed(root: Path, names: Sequence[str]) -> list[str]:
    listing, known = root / LISTING, set(names)
    captions: dict[str, str] = {}
    for number, line in enumerate(_text(listing).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{listing}, line {number}"
        try:
            entry = json.loads(line)
            name, caption = entry["file"], entry["caption"]
        except (ValueError, TypeError, KeyError):
            raise UserError('must be {"file": ..., "caption": ...}', field=where) from None
        if not isinstance(name, str) or not isinstance(caption, str) or not caption.strip():
            raise UserError("file and caption must be text and not empty", field=where)
        name = name.removeprefix("./").rstrip("/")
        if name not in known:
            raise UserError(f"names {name}, which is not among the {len(known)} items of {root}", field=where)
        if name in captions:
            raise UserError(f"gives {name} a second caption; keep one", field=where)
        captions[name] = caption
    missing = [name for name in names if name not in captions]
    if missing:
        raise UserError(f"has no caption in {listing} ({len(missing)} have none)", field=str(root / missing[0]))
    return [captions[name] for name in names]


def _beside(root: Path, name: str) -> str:
    path = _sidecar(root, name)
    if not path.exists():
        raise UserError(f"is missing: the caption of {root / name}", field=str(path))
    caption = _text(path).strip()
    if not caption:
        raise UserError("must hold a caption, but is empty", field=str(path))
    return caption


def _sidecar(root: Path, name: str) -> Path:
    path = root / name
    return path.with_name(f"{path.name if path.is_dir() else path.stem}.txt")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # without the byte order mark that some editors write
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read ({error})", field=str(path)) from None

"""Captions of images or videos: `captions.jsonl` in their folder, or a `.txt` file beside each.

Listings that other programs write, `metadata.jsonl` and `metadata.csv` with `file_name` and `text`, are read alike.
Captions alone, of images to be drawn, are the lines of a text file.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from flexsearch.errors import UserError, reading

LISTINGS = ("captions.jsonl", "metadata.jsonl", "metadata.csv")
"""Names of files with the captions of a whole folder; the first that is there is read."""


def has_captions(root: Path, names: Iterable[str]) -> bool:
    """Tell whether the folder has a listing, or any of the items a `.txt` beside it."""
    return _listing(root) is not None or any(_sidecar(root, name).exists() for name in names)


def read_captions(root: Path, names: Sequence[str]) -> list[str]:
    """Read one caption per item.

    Args:
        root: folder of the items. Its listing is read if it has one; sidecar files are ignored then.
        names: paths of the images, or of the folders of frames, relative to `root`.

    Raises:
        UserError: an item has no caption or two, a caption has no item, or a line is not
            `{"file": ..., "caption": ...}`; names the file.
    """
    listing = _listing(root)
    if listing is not None:
        return _listed(root, listing, names)
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


def _listing(root: Path) -> Path | None:
    return next((root / name for name in LISTINGS if (root / name).exists()), None)


def _entries(listing: Path) -> Iterator[tuple[str, Any, Any]]:
    """Go through where a listing names an item, the item, and its caption."""
    keys = ("file", "caption") if listing.name == LISTINGS[0] else ("file_name", "text")
    text = _text(listing)
    if listing.suffix == ".csv":
        rows = csv.DictReader(io.StringIO(text), strict=True)
        with reading(listing):
            for row in rows:
                yield f"{listing}, line {rows.line_num}", row.get(keys[0]), row.get(keys[1])
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{listing}, line {number}"
        try:
            entry = json.loads(line)
            yield where, entry[keys[0]], entry[keys[1]]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise UserError(f'must be {{"{keys[0]}": ..., "{keys[1]}": ...}}', field=where) from None


def _listed(root: Path, listing: Path, names: Sequence[str]) -> list[str]:
    known = set(names)
    captions: dict[str, str] = {}
    for where, name, caption in _entries(listing):
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
    with reading(path):
        return path.read_text(encoding="utf-8-sig")  # without the byte order mark that some editors write

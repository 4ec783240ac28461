"""Captions of images or videos: `captions.jsonl` in their folder, or a `.txt` file beside each.

Listings that other programs write, `metadata.jsonl` and `metadata.csv` with `file_name` and `text`, are read alike.
Captions alone, of images to be drawn, are the lines of a text file.
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from flexsearch.errors import UserError, reading

LISTINGS = ("captions.jsonl", "metadata.jsonl", "metadata.csv")
"""Names of files with the captions of a whole folder, in upper or lower case."""


def has_captions(root: Path, names: Iterable[str]) -> bool:
    """Tell whether the folder has a listing, or any of the items a `.txt` beside it.

    Raises:
        UserError: it has two listings.
    """
    return listing_of(root) is not None or any(os.path.lexists(_sidecar(root, name)) for name in names)


def read_captions(root: Path, names: Sequence[str]) -> list[str]:
    """Read one caption per item.

    Args:
        root: folder of the items. Its listing is read if it has one; sidecar files are ignored then.
        names: paths of the images, or of the folders of frames, relative to `root`.

    Raises:
        UserError: an item has no caption or two, a caption has no item, or a line is not
            `{"file": ..., "caption": ...}`; names the file.
    """
    listing = listing_of(root)
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


def listing_of(root: Path) -> Path | None:
    """Give the listing of a folder, if it has one.

    Raises:
        UserError: it has two, of which one would not be read.
    """
    found = sorted(name for name in os.listdir(root) if name.lower() in LISTINGS)
    if len(found) > 1:
        raise UserError(f"lists captions, and so does {found[1]}; keep one", field=str(root / found[0]))
    return root / found[0] if found else None


def _entries(listing: Path) -> Iterator[tuple[str, Any, Any]]:
    """Go through where a listing names an item, the item, and its caption."""
    keys = ("file", "caption") if listing.name.lower() == LISTINGS[0] else ("file_name", "text")
    text = _text(listing)
    if listing.suffix.lower() == ".csv":
        rows = csv.DictReader(io.StringIO(text), strict=True)
        with reading(listing):
            for row in rows:
                where = f"{listing}, line {rows.line_num}"
                if None in row:  # what is beyond the columns
                    raise UserError("has more fields than columns: quote captions that have commas", field=where)
                yield where, row.get(keys[0]), row.get(keys[1])
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
        if not isinstance(name, str) or not isinstance(caption, str) or not _is_text(caption):
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


def _is_text(caption: str) -> bool:
    """Tell whether it says something, in characters that a tokeniser can read: JSON may hold half of one."""
    return bool(caption.strip()) and not any("\ud800" <= sign <= "\udfff" for sign in caption)


def _beside(root: Path, name: str) -> str:
    path = _sidecar(root, name)
    if not os.path.lexists(path):
        raise UserError(f"is missing: the caption of {root / name}", field=str(path))
    caption = _text(path).strip()
    if not caption:
        raise UserError("must hold a caption, but is empty", field=str(path))
    return caption


def _sidecar(root: Path, name: str) -> Path:
    path = root / name
    stem = path.name if path.is_dir() else path.stem
    lower, upper = path.with_name(f"{stem}.txt"), path.with_name(f"{stem}.TXT")
    return upper if os.path.lexists(upper) and not os.path.lexists(lower) else lower


def _text(path: Path) -> str:
    with reading(path):
        return path.read_text(encoding="utf-8-sig")  # without the byte order mark that some editors write

"""Folders of files, listed in one way for training, captions and references.

What is hidden, what systems and tools leave, and what is no plain file is passed over, and counted. Links to folders
are followed once, and not where they lead to what is listed anyway.
"""

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flexsearch.errors import Note

_OF_SYSTEMS = frozenset(
    (
        *("__macosx", "lost+found", "system volume information", "thumbs.db", "desktop.ini"),
        *("$recycle.bin", "#recycle", "@recycle", "@eadir"),
    )
)
"""In lower case: the same system writes them in several."""


@dataclass(frozen=True, kw_only=True)
class Folder:
    """One folder below a root.

    Attributes:
        path: below the root.
        folders: names of folders in it, sorted.
        files: names of files in it with the suffixes that were asked for, sorted.
        others: names of its other files, sorted.
    """

    path: Path
    folders: Sequence[str]
    files: Sequence[str]
    others: Sequence[str]


def list_folders(root: Path, *, suffixes: tuple[str, ...], read_too: tuple[str, ...] = ()) -> list[Folder]:
    """List a folder and all below it, and say in one note what of it was passed over.

    Args:
        root: the folder.
        suffixes: of the files that are meant, in lower case.
        read_too: names or suffixes of files that are read in another way, and not counted as passed over.

    Returns:
        Every folder, the root first, in the order of their paths.
    """
    passed: Counter[str] = Counter()
    found = sorted(_walk(root, suffixes, passed), key=lambda folder: folder.path.parts)
    passed.update(
        _kind(name) for folder in found for name in folder.others if not name.lower().endswith(read_too or ("\0",))
    )
    if passed:
        kinds = ", ".join(f"{num} {kind}" for kind, num in passed.most_common())
        warnings.warn(f"{root}: passed over {passed.total()}: {kinds}", Note, stacklevel=2)
    return found


def _walk(root: Path, suffixes: tuple[str, ...], passed: Counter[str]) -> Iterator[Folder]:
    top, waiting, followed = os.path.realpath(root), [Path()], set[str]()
    while waiting:
        below = waiting.pop()
        folders, files, others = list[str](), list[str](), list[str]()
        with os.scandir(root / below) as entries:
            for entry in entries:
                is_broken = entry.is_symlink() and not os.path.exists(entry.path)  # leads nowhere, or to itself
                if entry.name.lower() in _OF_SYSTEMS or entry.name.startswith("."):
                    passed["hidden" if entry.name.startswith(".") else f"of the system ({entry.name})"] += 1
                elif not is_broken and entry.is_dir():
                    real = os.path.realpath(entry.path)
                    if entry.is_symlink() and (real in followed or _is_in(real, top) or _is_in(top, real)):
                        passed["links to what is listed"] += 1
                        continue
                    followed.add(real)
                    folders.append(entry.name)
                elif not is_broken and not entry.is_file():
                    passed["no plain file"] += 1
                else:
                    (files if entry.name.lower().endswith(suffixes) else others).append(entry.name)
        waiting += [below / name for name in folders]
        yield Folder(path=below, folders=sorted(folders), files=sorted(files), others=sorted(others))


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _kind(name: str) -> str:
    return Path(name).suffix.lower() or "without suffix"

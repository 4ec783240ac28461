"""Files that are whole or not there, after a power cut as well, and known by their SHA-256.

They have the permissions that the user's umask gives. What is replaced is on the disk before it gets its name.
"""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flexsearch.errors import Note

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the last one under a limit of `ulimit -f`
_DISK = (*_FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EIO)

_CHECKSUM = "checksum"
_BESIDE = re.compile(r"\..+\.[0-9a-f]{8}(\.\w+)?")


def _beside(path: Path) -> Path:
    """Give a hidden name beside `path`, whose folder is made, that nothing has."""
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{path.suffix}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Make a temporary path beside `path` that takes its place when the block ends without an error."""
    temporary = _beside(path)
    try:
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # safetensors lets nobody else read
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_to_cache(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file that another run may use, as `replacing` does; where it cannot be written, a warning says so."""
    try:
        with replacing(path) as temporary:
            write(temporary)
    except Exception as error:
        reason = error.strerror if isinstance(error, FileExistsError) else disk_fault(error)
        if reason is None:
            raise
        warnings.warn(f"{path} is not kept for other runs ({reason})", Note, stacklevel=2)


def disk_fault(error: BaseException) -> str | None:
    """Say what an error, or one behind it, says of the disk; None if it says nothing. Libraries that write by
    themselves put the operating system's words into errors of their own."""
    texts = [os.strerror(number) for number in _DISK]
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _DISK:
            return seen.strerror
        found = next((text for text in texts if text in str(seen)), None)
        if found is not None:
            return found
        seen = seen.__cause__ or seen.__context__
    return None


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Make a temporary folder beside `path`; what the block leaves of it goes when the block ends."""
    folder = _beside(path)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(folder: Path) -> None:
    """Remove what writers that were killed have left beside their files, while nobody writes into the folder."""
    for path in folder.glob(".*"):
        if _BESIDE.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def rename_folder(folder: Path, path: Path) -> None:
    """Give a folder its final name, once all of it is on the disk.

    Raises:
        OSError: the name is taken.
    """
    sync_folder(folder)
    folder.rename(path)
    _sync(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until a folder and all in it are on the disk; who may read the folder may read its files."""
    for inner in (*folder.rglob("*"), folder):
        if inner.is_file():
            inner.chmod(folder.stat().st_mode & 0o666)
        _sync(inner)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, text: str) -> None:
    """Write `text` so that a reader, or a crash, sees all of it or the file as it was."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a mapping atomically, with a checksum by which `read_json` knows it for whole."""
    write_atomically(path, json.dumps({**values, _CHECKSUM: _checksum(values)}, indent=2))


def read_json(path: Path) -> dict[str, Any]:
    """Read a mapping in JSON, whole by its checksum if `write_json` wrote it.

    Raises:
        OSError: there is no such file.
        ValueError: it is damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("is nested too deep") from error
    if not isinstance(values, dict):
        raise ValueError("is not a mapping")
    if values.pop(_CHECKSUM, None) not in (None, _checksum(values)):
        raise ValueError("is not as it was written")
    return values


def _checksum(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def copy_atomically(source: Path, path: Path) -> None:
    """Copy a file so that a reader, or a crash, sees all of it or the file as it was."""
    with replacing(path) as temporary:
        shutil.copyfile(source, temporary)


def link_or_copy(source: Path, path: Path) -> None:
    """Give a file that nobody changes a second name, in place of what has it; a copy where a file has only one name."""
    with replacing(path) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def file_sha256(path: Path) -> str:
    """Hash a file by SHA-256, 64 hexadecimal digits."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()

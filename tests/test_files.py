"""Files: whole or absent, on the disk before they have their name, with the user's permissions."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from flexsearch import files
from flexsearch.errors import Note
from flexsearch.files import (
    disk_fault,
    folder_beside,
    link_or_copy,
    remove_abandoned,
    rename_folder,
    replacing,
    write_atomically,
    write_to_cache,
)


@pytest.fixture(params=[0o077, 0o022, 0o002])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_written_has_the_users_permissions(tmp_path: Path, umask: int) -> None:
    write_atomically(tmp_path / "a" / "file", "text")
    with replacing(tmp_path / "weights") as weights:
        weights.chmod(0o600)
    link_or_copy(tmp_path / "a" / "file", tmp_path / "link")
    with folder_beside(tmp_path / "folder") as temporary:
        (temporary / "inside").write_text("text")
        (temporary / "inside").chmod(0o600)  # as safetensors writes
        rename_folder(temporary, tmp_path / "folder")
    assert [mode(tmp_path / name) for name in ("a/file", "weights", "link", "folder/inside")] == [0o666 & ~umask] * 4
    assert [mode(tmp_path / name) for name in ("a", "folder")] == [0o777 & ~umask] * 2


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = files._sync, Path.replace
    monkeypatch.setattr(files, "_sync", lambda path: (done.append(f"sync {path.is_dir()}"), sync(path)))
    monkeypatch.setattr(Path, "replace", lambda self, target: (done.append("replace"), replace(self, target)))
    write_atomically(tmp_path / "file", "text")
    assert done == ["sync False", "replace", "sync True"]


def test_an_error_leaves_the_file_as_it_was_and_nothing_else(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", "before")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "file") as temporary:
        temporary.write_text(str(1 // 0))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "before"


def test_a_disks_fault_is_told_however_it_is_worded() -> None:
    assert disk_fault(OSError(errno.ENOSPC, "No space left on device")) == "No space left on device"
    assert disk_fault(RuntimeError("I/O error: Read-only file system (os error 30)")) == "Read-only file system"
    behind = ValueError("a library's own")
    behind.__cause__ = OSError(errno.EACCES, "Permission denied")
    assert disk_fault(behind) == "Permission denied"
    assert disk_fault(OSError(errno.EFBIG, "File too large")) == "File too large", "under `ulimit -f`"
    assert disk_fault(FileNotFoundError(errno.ENOENT, "No such file")) is None
    assert disk_fault(ValueError("one over zero")) is None


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    with pytest.warns(Note, match="is not kept for other runs"):
        write_to_cache(tmp_path / "cache" / "x", lambda path: path.write_text("text"))
    with pytest.raises(ZeroDivisionError):
        write_to_cache(tmp_path / "other", lambda path: path.write_text(str(1 // 0)))


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = {"file.safetensors", ".hidden", "weights-0123abcd", ".lock.json"}
    for name in kept:
        (tmp_path / name).touch()
    for path in (tmp_path / "file.safetensors", tmp_path / "weights-0123abcd"):
        files._beside(path).touch()
    folder = files._beside(tmp_path / "folder")
    folder.mkdir()
    (folder / "inside").touch()
    assert len(list(tmp_path.iterdir())) == len(kept) + 3
    remove_abandoned(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept

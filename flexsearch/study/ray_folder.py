"""Temporary folders of Ray's, which a killed driver leaves behind and the next one removes. Imports no Ray."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_PREFIX = "fs-ray-"  # short: Ray's sockets lie in it
_LOCK = "driver.lock"


@contextmanager
def ray_folder() -> Iterator[Path]:
    """Make a folder that goes with the block; those of processes that were killed go first."""
    _remove_abandoned(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        with FileLock(folder / _LOCK):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    """Remove the folders whose lock nobody holds; where there is none, another process is about to make it."""
    for lock in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        try:
            with FileLock(lock, timeout=0):
                shutil.rmtree(lock.parent, ignore_errors=True)
        except (Timeout, OSError):  # it lives, or is another user's
            continue

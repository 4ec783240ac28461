"""One process per folder. The lock is the operating system's, so a killed process leaves none behind."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from flexsearch.errors import UserError


@contextmanager
def one_process(lock_file: Path, *, doing: str) -> Iterator[None]:
    """Hold `lock_file`, whose folder is made.

    Raises:
        UserError: another process holds it; names the process where it is on this machine.
    """
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(lock_file).acquire(timeout=0)
    except Timeout:
        holder = lock_file.read_text(encoding="utf-8") or "unknown"
        raise UserError(
            f"is being {doing} by process {holder}; wait for it or stop it", field=str(lock_file.parent)
        ) from None
    with held:
        lock_file.write_text(str(os.getpid()), encoding="utf-8")
        yield

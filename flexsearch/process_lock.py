"""One process per folder. The lock is the operating system's, so a killed process leaves none behind."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flexsearch.errors import UserError


@contextmanager
def one_process(lock_file: Path, *, doing: str) -> Iterator[None]:
    """Holds `lock_file`, whose folder is made.

    Raises:
        UserError: another process holds it; names the process where it is on this machine.
    """
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise UserError(
                f"is being {doing} by process {holder}; wait for it or stop it", field=str(lock_file.parent)
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield

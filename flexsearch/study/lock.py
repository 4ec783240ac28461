"""One driver per study. The lock is the operating system's or the server's, so a killed driver leaves none behind."""

import fcntl
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, text

from flexsearch.errors import UserError


@contextmanager
def one_driver(run_dir: Path, engine: Engine, study_name: str) -> Iterator[None]:
    """Holds the study as its only driver.

    Raises:
        UserError: another process holds it; names the process where it is on this machine.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / "driver.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise UserError(
                f"is being searched by process {holder}; wait for it or stop it", field=str(run_dir)
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        if engine.dialect.name == "postgresql":
            with _advisory_lock(engine, study_name):
                yield
        else:
            yield


@contextmanager
def _advisory_lock(engine: Engine, study_name: str) -> Iterator[None]:
    with engine.connect() as connection:
        key = zlib.crc32(f"flexsearch:{study_name}".encode())
        if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar():
            raise UserError(f"study {study_name!r} is being searched by another machine", field="--storage")
        connection.commit()
        try:
            yield
        finally:  # a pooled connection outlives this block, and its lock with it
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})
            connection.commit()

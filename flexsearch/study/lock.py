"""One driver per study. The lock is the operating system's or the server's, so a killed driver leaves none behind."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, text

from flexsearch.errors import UserError
from flexsearch.process_lock import one_process


@contextmanager
def one_driver(run_dir: Path, engine: Engine, study_name: str) -> Iterator[None]:
    """Hold the study as its only driver.

    Raises:
        UserError: another process holds it; names the process where it is on this machine.
    """
    with one_process(run_dir / "driver.lock", doing="searched"):
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

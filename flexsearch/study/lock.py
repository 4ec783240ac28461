"""One driver per study. The lock is the operating system's or the server's, so a killed driver leaves none behind."""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.exc import SQLAlchemyError

from flexsearch.errors import UserError
from flexsearch.process_lock import one_process
from flexsearch.study.secrets import FIELD
from flexsearch.study.storage import engine_options

Guard = Callable[[Engine], None]
"""Lets an engine write only as long as the study is held."""


@contextmanager
def one_driver(run_dir: Path, engine: Engine, study_name: str) -> Iterator[Guard]:
    """Hold the study as its only driver; `engine` is guarded.

    Raises:
        UserError: another process holds it; names the process where it is on this machine.
    """
    with one_process(run_dir / "driver.lock", doing="searched"):
        if engine.dialect.name == "postgresql":
            with _advisory_lock(engine, study_name) as guard:
                guard(engine)
                yield guard
        else:
            yield lambda _: None


@contextmanager
def _advisory_lock(engine: Engine, study_name: str) -> Iterator[Guard]:
    """Hold the server's lock. It lives as long as its session, which is one of its own and asked before every write."""
    url = engine.url.render_as_string(hide_password=False)
    own = create_engine(
        engine.url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=engine_options(url)["connect_args"]
    )
    guarded: list[Engine] = []
    with own.connect() as session:

        def check(_: Connection) -> None:
            _check(session, study_name)

        def guard(one: Engine) -> None:
            event.listen(one, "commit", check)
            guarded.append(one)

        key = zlib.crc32(f"flexsearch:{study_name}".encode())
        if not session.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar():
            raise UserError(f"study {study_name!r} is being searched by another machine", field=FIELD)
        try:
            yield guard
        finally:
            for one in guarded:
                event.remove(one, "commit", check)


def _check(session: Connection, study_name: str) -> None:
    """Check that the session which holds the lock lives.

    Raises:
        UserError: it does not.
    """
    try:
        session.execute(text("SELECT 1"))
    except SQLAlchemyError:  # also of a second write, after the first was refused
        raise UserError(
            f"the session that holds study {study_name!r} has ended, so that another driver may have it; nothing is "
            "lost, the same command goes on",
            field=FIELD,
        ) from None

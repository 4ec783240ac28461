"""Say where a study lives: a SQLite file in the run directory, or any SQL database that Optuna and SQLAlchemy speak."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
)

from flexsearch.errors import UserError
from flexsearch.study.secrets import FIELD, VARIABLE, parsed_url

SQLITE_TIMEOUT_S = 60
RECONNECT_AFTER_S = (0.5, 1.0, 2.0)
_REFUSED = ("42501", "25006")  # PostgreSQL: no privilege, a database that can only be read
_LIBPQ = ("postgresql+psycopg", "postgresql+psycopg2", "postgresql")
_KEEPALIVES = {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}


def storage_url(run_dir: Path, storage: str | None) -> str:
    """Give the SQLAlchemy URL of a run: `storage`, or `RUN/study.db`."""
    if storage is not None:
        return storage
    return URL.create("sqlite", database=str((run_dir / "study.db").resolve())).render_as_string(hide_password=False)


def engine_options(url: str) -> dict[str, Any]:
    """Give engine arguments: SQLite waits for its lock, servers are asked whether a connection still lives."""
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": SQLITE_TIMEOUT_S}}
    return {"pool_pre_ping": True, "connect_args": _KEEPALIVES if parsed_url(url).drivername in _LIBPQ else {}}


def connect(storage: str) -> Engine:
    """Open an engine that has reached its database; should it lose it, it tries a few times to reach it again.

    Raises:
        UserError: the URL cannot be read, its driver is missing, or no database answers.
    """
    url = parsed_url(storage)
    try:
        in_memory = url.database in (None, "", ":memory:") or "mode=memory" in storage
        if url.get_backend_name() == "sqlite" and in_memory:
            raise UserError(
                "must outlive the process, but is a database in memory", field=FIELD, nearest="sqlite:///study.db"
            )
        engine = create_engine(url, **engine_options(storage))
        with engine.connect():
            pass
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, TypeError) as error:
        raise UserError(f"cannot be used ({error})", field=FIELD, nearest="postgresql+psycopg://...") from None
    except DBAPIError as error:
        reason = _reason(error)
        hint = f"; give the URL with it in {VARIABLE}" if "password" in reason and url.password is None else ""
        raise UserError(f"cannot be reached ({reason}){hint}", field=FIELD) from None
    reconnect_patiently(engine)
    return engine


def reconnect_patiently(engine: Engine) -> None:
    """Have an engine wait a little for a server that is being started again."""

    @event.listens_for(engine, "do_connect")
    def connect_again(dialect: Any, _: Any, arguments: Any, options: Any) -> Any:
        for pause in RECONNECT_AFTER_S:
            try:
                return dialect.connect(*arguments, **options)
            except dialect.loaded_dbapi.OperationalError:
                time.sleep(pause)
        return dialect.connect(*arguments, **options)


@contextmanager
def clear_faults() -> Iterator[None]:
    """Tell the user of a database that is lost, locked or refuses, in one line.

    Raises:
        UserError: in place of the database's error. What is our fault stays as it is.
    """
    try:
        yield
    except Exception as error:
        reason = database_fault(error)
        if reason is None:
            raise
        raise UserError(f"{reason}; nothing is lost, the same command goes on", field=FIELD) from error


def database_fault(error: BaseException) -> str | None:
    """Say what an error, or the one that caused it, says of the database; None if it says nothing."""
    while not isinstance(error, DBAPIError):
        if isinstance(error, UnicodeDecodeError):  # of SQLite's driver, as it is
            return f"the database is damaged ({error})"
        if error.__cause__ is None:
            return None
        error = error.__cause__
    is_lost = isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated
    is_damaged = type(error) is DatabaseError  # SQLite's
    if is_lost or is_damaged or getattr(error.orig, "sqlstate", None) in _REFUSED:
        return f"the database failed ({_reason(error)})"
    return None


def _reason(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())

"""Where a study lives: a SQLite file in the run directory, or any SQL database that Optuna and SQLAlchemy speak."""

from pathlib import Path

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

from flexsearch.errors import UserError

SQLITE_TIMEOUT_S = 60


def storage_url(run_dir: Path, storage: str | None) -> str:
    """Give the SQLAlchemy URL of a run: `storage`, or `RUN/study.db`."""
    return storage if storage is not None else f"sqlite:///{(run_dir / 'study.db').resolve()}"


def engine_options(url: str) -> dict[str, object]:
    """Give engine arguments: SQLite waits for its lock, servers are asked whether a connection still lives."""
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": SQLITE_TIMEOUT_S}}
    return {"pool_pre_ping": True}


def connect(url: str) -> Engine:
    """Open an engine that has reached its database.

    Raises:
        UserError: the URL cannot be read, its driver is missing, or no database answers.
    """
    try:
        known = make_url(url)
        in_memory = known.database in (None, "", ":memory:") or "mode=memory" in url
        if known.get_backend_name() == "sqlite" and in_memory:
            raise UserError(
                f"must outlive the process, but got {url!r}, a database in memory",
                field="--storage",
                nearest="sqlite:///study.db",
            )
        engine = create_engine(known, **engine_options(url))
        with engine.connect():
            return engine
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise UserError(f"cannot be used ({error})", field="--storage", nearest="postgresql+psycopg://...") from None
    except OperationalError as error:
        reason = " ".join(str(error.orig).split())
        raise UserError(f"cannot be reached ({reason})", field="--storage") from None

"""Bring tables to today's version by alembic."""

from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine

from flexsearch.errors import UserError
from flexsearch.study.migrations import VERSION_TABLE
from flexsearch.study.tables import TABLES


def upgrade(engine: Engine, current: str | None, *, is_new: bool) -> None:
    """Create the tables, or change those of an earlier version.

    Args:
        engine: of the database.
        current: its version; None where it has none.
        is_new: none of the tables is there.

    Raises:
        UserError: this version of flexsearch does not know the database's.
    """
    script = ScriptDirectory(str(Path(__file__).parent))
    if current is not None:
        _check_known(script, current)
    with engine.begin() as connection:
        TABLES.create_all(connection)
        if is_new:
            MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).stamp(script, "head")
            return
        environment = EnvironmentContext(Config(), script, fn=lambda now, _: script._upgrade_revs("head", now))
        with environment:
            environment.configure(connection=connection, version_table=VERSION_TABLE)
            environment.run_migrations()


def _check_known(script: ScriptDirectory, current: str) -> None:
    try:
        script.get_revision(current)
    except CommandError:
        known = ", ".join(reversed([one.revision for one in script.walk_revisions()]))
        raise UserError(
            f"the database was made by another version of flexsearch: its tables are at {current!r}, and this version "
            f"knows {known}; open it with the version that made it",
            field="--storage",
        ) from None

"""The tables of the results in databases of earlier versions, brought to today's by alembic.

A database without a version is one from before there were versions. `versions/` has one file per change.
"""

from functools import cache
from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine, inspect

from flexsearch.errors import UserError
from flexsearch.study.tables import RUN, TABLES

VERSION_TABLE = "flexsearch_version"


def migrate(engine: Engine) -> None:
    """Create the tables, or bring those that are there to today's version.

    Raises:
        UserError: the database is of a version that this one does not know.
    """
    script = _script()
    head = script.get_current_head()
    options = {"version_table": VERSION_TABLE}
    with engine.connect() as connection:
        current = MigrationContext.configure(connection, opts=options).get_current_revision()
        is_new = not inspect(connection).has_table(RUN.name)
    if current == head:
        return
    if current is not None:
        _check_known(script, current)
    with engine.begin() as connection:
        TABLES.create_all(connection)
        if is_new:
            MigrationContext.configure(connection, opts=options).stamp(script, "head")
            return
        environment = EnvironmentContext(Config(), script, fn=lambda now, _: script._upgrade_revs("head", now))
        with environment:
            environment.configure(connection=connection, version_table=VERSION_TABLE)
            environment.run_migrations()


@cache
def _script() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).parent))


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

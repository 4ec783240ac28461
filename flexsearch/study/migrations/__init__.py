"""The tables of the results in databases of earlier versions, brought to today's by alembic.

A database without a version is one from before there were versions. `versions/` has one file per change.
"""

from sqlalchemy import Engine, column, inspect, select, table

from flexsearch.study.tables import RUN

VERSION_TABLE = "flexsearch_version"
VERSION = "0001"
"""Of today's tables: the last of `versions/` (tested)."""


def migrate(engine: Engine) -> None:
    """Create the tables, or bring those that are there to today's version.

    Raises:
        UserError: the database is of a version that this one does not know.
    """
    with engine.connect() as connection:
        tables, version = inspect(connection), table(VERSION_TABLE, column("version_num"))
        has_version = tables.has_table(VERSION_TABLE)
        current = connection.execute(select(version.c.version_num)).scalar() if has_version else None
        is_new = not tables.has_table(RUN.name)
    if current != VERSION:
        from flexsearch.study.migrations.upgrade import upgrade  # half a second, which few databases need

        upgrade(engine, current, is_new=is_new)

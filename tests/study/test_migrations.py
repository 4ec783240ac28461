"""Databases of earlier versions: brought to today's tables, and those of unknown versions named."""

import shutil
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, text

from flexsearch.errors import UserError
from flexsearch.study.migrations import VERSION, VERSION_TABLE, migrate
from flexsearch.study.store import Store, has_study
from flexsearch.study.tables import TABLES

OLD = Path(__file__).parents[1] / "golden" / "old_run" / "run" / "study.db"


@pytest.fixture
def old(tmp_path: Path) -> Engine:
    """The database of a run of 0.1.0."""
    shutil.copy(OLD, tmp_path / "study.db")
    return create_engine(f"sqlite:///{tmp_path / 'study.db'}")


def differences(engine: Engine) -> list[object]:
    """How our tables in a database differ from today's."""

    def ours(name: str | None, kind: str, _: object) -> bool:
        return kind != "table" or ((name or "").startswith("flexsearch_") and name != VERSION_TABLE)

    with engine.connect() as connection:
        return compare_metadata(MigrationContext.configure(connection, opts={"include_name": ours}), TABLES)


def test_an_old_database_is_brought_to_todays_tables_with_all_that_it_holds(old: Engine) -> None:
    with old.begin() as connection:
        name = connection.execute(text("SELECT study FROM flexsearch_run")).scalar()
        num = connection.execute(text("SELECT count(*) FROM flexsearch_trial")).scalar()
        connection.execute(text("ALTER TABLE flexsearch_rung DROP COLUMN drift"))
        connection.execute(text("DROP TABLE flexsearch_confirmation"))  # there since later
    assert differences(old)
    store = Store(old, study=name, seed=0)
    assert differences(old) == []
    assert len(store.trials()) == num > 5
    migrate(old)
    assert len(Store(old, study=name, seed=0).trials()) == num


def test_a_new_database_is_todays() -> None:
    engine = create_engine("sqlite://")
    migrate(engine)
    assert differences(engine) == []
    with engine.connect() as connection:
        assert connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar() == VERSION


def test_a_database_of_another_version_is_named(old: Engine) -> None:
    migrate(old)
    with old.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0099'"))
    with pytest.raises(UserError, match="made by another version of flexsearch: its tables are at '0099'"):
        migrate(old)


def test_a_database_without_a_study_is_only_looked_at(tmp_path: Path, old: Engine) -> None:
    empty = tmp_path / "empty.db"
    engine = create_engine(f"sqlite:///{empty}")
    assert not has_study(engine, "s")
    assert empty.stat().st_size == 0
    assert not has_study(old, "another")

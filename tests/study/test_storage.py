"""Databases: URLs without their secrets, folders of any name, and faults that are one line."""

import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError, OperationalError

from flexsearch.errors import UserError
from flexsearch.study import storage
from flexsearch.study.optuna_study import OptunaStudy
from flexsearch.study.secrets import VARIABLE, with_secrets, without_secrets
from flexsearch.study.settings import SearchSettings
from flexsearch.study.storage import clear_faults, connect, reconnect_patiently, storage_url

URL = "postgresql+psycopg://u:{}@host/db"


def test_a_kept_url_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert without_secrets(None) is None
    assert without_secrets(URL.format("SECRET")) == URL.format("***")
    in_parameters = without_secrets("postgresql+psycopg://u@host/db?password=SECRET&sslpassword=SECRET&sslmode=require")
    assert in_parameters is not None
    assert "SECRET" not in in_parameters
    assert "sslmode=require" in in_parameters
    inside = without_secrets("postgresql+psycopg://u@host/db?odbc_connect=DRIVER%3Dx%3BPWD%3DSECRET&options=-cpwd_days")
    assert inside == "postgresql+psycopg://u@host/db?odbc_connect=%2A%2A%2A&options=-cpwd_days"
    assert with_secrets(inside) == "postgresql+psycopg://u@host/db?options=-cpwd_days"
    assert without_secrets("sqlite:///a.db") == "sqlite:///a.db"


def test_the_secret_comes_from_the_variable_or_from_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    kept = without_secrets(URL.format("SECRET"))
    assert with_secrets(kept) == "postgresql+psycopg://u@host/db", "the driver reads ~/.pgpass itself"
    monkeypatch.setenv(VARIABLE, URL.format("SECRET"))
    assert with_secrets(kept) == URL.format("SECRET")
    assert with_secrets("postgresql+psycopg://u:***@elsewhere/db") == "postgresql+psycopg://u@elsewhere/db"
    assert with_secrets(None) is None, "a run on a file of its own stays there"


@pytest.mark.parametrize("name", ["a?b", "a%41b", "a{b}", "a#b", "a b", "a@b:c"])
def test_a_run_directory_may_have_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    url = storage_url(folder, None)
    connect(url).dispose()
    OptunaStudy(url, name="s", objectives=("a", "b"), domains={}, settings=SearchSettings())
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert [path.name for path in folder.iterdir()] == ["study.db"]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://u:SECRET@host:abc/db",
        "postgresql+psycopg://u:a:SECRET@h:1x/db",
        "postgresql+psycopg://u:SECRET@127.0.0.1:9/db?foo=bar",
        "postgresql+psycopg://u:SECRET@127.0.0.1:9/db",
    ],
)
def test_a_url_that_cannot_be_used_is_one_line_without_its_secret(url: str) -> None:
    with pytest.raises(UserError, match=r"^--storage: cannot be (used|reached)") as raised:
        connect(url)
    assert "SECRET" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_database_that_another_program_holds_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "SQLITE_TIMEOUT_S", 0.01)
    engine = connect(storage_url(tmp_path, None))
    with sqlite3.connect(tmp_path / "study.db") as other:
        other.execute("BEGIN EXCLUSIVE")
        with (
            pytest.raises(UserError, match=r"the database failed \(database is locked\); nothing is lost"),
            clear_faults(),
            engine.begin() as connection,
        ):
            connection.execute(text("CREATE TABLE t (x INT)"))


def test_what_is_our_fault_stays_an_internal_error() -> None:
    with pytest.raises(IntegrityError), clear_faults():
        raise IntegrityError("INSERT", {}, Exception("NOT NULL"))
    caused = ValueError("by Optuna")
    caused.__cause__ = OperationalError("SELECT", {}, Exception("server closed the connection"))
    with pytest.raises(UserError, match="server closed the connection"), clear_faults():
        raise caused


@pytest.mark.parametrize("failures", [2, 9])
def test_a_server_that_comes_back_soon_is_waited_for(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(storage, "time", SimpleNamespace(sleep=pauses.append))
    engine = create_engine("sqlite://")
    reconnect_patiently(engine)
    connects, tried = engine.dialect.connect, []

    def fails_at_first(*arguments: Any, **options: Any) -> Any:
        tried.append(1)
        if len(tried) <= failures:
            raise sqlite3.OperationalError("the server is starting up")
        return connects(*arguments, **options)

    monkeypatch.setattr(engine.dialect, "connect", fails_at_first)
    if failures > len(storage.RECONNECT_AFTER_S):
        with pytest.raises(OperationalError):
            engine.connect()
        assert pauses == list(storage.RECONNECT_AFTER_S)
    else:
        engine.connect().close()
        assert pauses == list(storage.RECONNECT_AFTER_S[:failures])

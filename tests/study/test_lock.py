"""One driver per study, and no lock left behind by a dead one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from servers import Postgres
from sqlalchemy import text

from flexsearch.errors import UserError
from flexsearch.study.lock import one_driver
from flexsearch.study.storage import connect, storage_url

HOLDER = """
import sys, time
from pathlib import Path
from flexsearch.study.lock import one_driver
from flexsearch.study.storage import connect, storage_url
run_dir = Path(sys.argv[1])
with one_driver(run_dir, connect(storage_url(run_dir, None)), "s"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_driver_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        engine = connect(storage_url(tmp_path, None))
        with (
            pytest.raises(UserError, match=f"is being searched by process {holder.pid}"),
            one_driver(tmp_path, engine, "s"),
        ):
            pass
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    with one_driver(tmp_path, engine, "s"):
        assert (tmp_path / "driver.lock").read_text() == str(os.getpid())


@pytest.mark.postgres
def test_drivers_on_two_machines_are_kept_apart_by_the_server(postgres: Postgres, tmp_path: Path) -> None:
    engine = connect(postgres.new_database())
    with (
        one_driver(tmp_path / "a", engine, "s"),
        pytest.raises(UserError, match="another machine"),
        one_driver(tmp_path / "b", engine, "s"),
    ):
        pass
    with one_driver(tmp_path / "b", engine, "s"), one_driver(tmp_path / "c", engine, "other"):
        pass


@pytest.mark.postgres
def test_a_driver_whose_session_has_ended_writes_no_more(postgres: Postgres, tmp_path: Path) -> None:
    """The server ends it, as a restart or a firewall does; from then on another driver may have the study."""
    url = postgres.new_database()
    engine, other = connect(url), connect(url)
    end = text(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND "
        "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with other.begin() as connection:
        connection.execute(text("CREATE TABLE flexsearch_test_lock (x INT)"))

    def write() -> None:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO flexsearch_test_lock VALUES (1)"))

    with one_driver(tmp_path / "a", engine, "s"):
        write()
        with other.begin() as connection:
            connection.execute(end)
        with pytest.raises(UserError, match="the session that holds study 's' has ended"):
            write()
        with one_driver(tmp_path / "b", other, "s"), pytest.raises(UserError, match="has ended"):
            write()
    write()
    with other.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM flexsearch_test_lock")).scalar() == 2

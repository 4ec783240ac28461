"""A search on a PostgreSQL server that restarts in the middle of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import Call
from servers import Postgres

from flexsearch.errors import UserError
from flexsearch.study.executor import run_locally
from flexsearch.study.lock import one_driver
from flexsearch.study.storage import clear_faults
from flexsearch.trial.contract import Report, TrialOrder, TrialResult

pytestmark = pytest.mark.postgres


def evidence(search: Any) -> list[Any]:
    return [replace(record, started="", ended=None, attempts=1) for record in search.store.trials()]


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_ends_the_search_in_one_line_and_loses_nothing(
    make_search: Call, run_trial: Call, postgres: Postgres, tmp_path: Path, mode: str
) -> None:
    whole = make_search(run_dir=tmp_path / "whole", trials=8)
    run_locally(whole, run_trial)
    url = postgres.new_database()

    def restarting(order: TrialOrder, report: Report) -> TrialResult:
        if order.number == 5:
            postgres.control("stop", "-m", mode)
            postgres.control("start")
        return run_trial(order, report)

    search = make_search(run_dir=tmp_path / "run", storage=url, trials=8)

    def one_command() -> None:
        with clear_faults(), one_driver(tmp_path / "run", search.store.engine, "test") as guard:
            guard(search.optuna_study.engine)
            run_locally(search, restarting)

    with pytest.raises(UserError, match="nothing is lost, the same command goes on") as raised:
        one_command()
    assert "\n" not in str(raised.value)
    resumed = make_search(run_dir=tmp_path / "run", storage=url, trials=8)
    run_locally(resumed, run_trial)
    assert evidence(resumed) == evidence(whole)

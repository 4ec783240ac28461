"""A confirmation is measured once, seed after seed, under seeds of its own, and goes on where it was killed."""

from pathlib import Path
from typing import Any

import pytest
from builders import Call

from flexsearch.errors import UserError
from flexsearch.study.confirm import confirm, confirmations, fresh_seeds
from flexsearch.study.executor import run_locally
from flexsearch.study.lock import one_driver
from flexsearch.study.repeats import OrderQueue


@pytest.fixture
def search(open_search: Call, run_trial: Any) -> Any:
    """A finished search of four trials, the dense base at 4 and at 2 steps first."""
    search = open_search(trials=4)
    run_locally(search, run_trial)
    return search


def test_seeds_are_fresh_and_stay() -> None:
    assert not set(fresh_seeds(0, 5)) & set(range(1000))
    assert fresh_seeds(7, 5)[:3] == fresh_seeds(7, 3)
    assert len(set(fresh_seeds(7, 5))) == 5


def test_it_goes_on_where_it_was_killed(search: Any, run_trial: Any, tmp_path: Path) -> None:
    records, seeds = search.store.trials()[:4], fresh_seeds(0, 2)
    measured: list[tuple[int, int]] = []

    def missing() -> OrderQueue:
        return confirmations(search.store, records, seeds=seeds, images=80, run_dir=tmp_path)

    def dies(order: Any, report: Any) -> Any:
        if len(measured) == 5:
            raise KeyboardInterrupt
        measured.append((order.number, order.seed))
        assert order.kind == "repeat"
        assert order.fine_tune == (order.number >= 2)
        return run_trial(order, report)

    with pytest.raises(KeyboardInterrupt):
        run_locally(missing(), dies)
    assert [seed for _, seed in measured] == [seeds[0]] * 4 + [seeds[1]]
    assert len(missing()) == 3

    def counts(order: Any, report: Any) -> Any:
        measured.append((order.number, order.seed))
        return run_trial(order, report)

    before = search.store.trials()
    assert run_locally(missing(), counts).reason == "everything is measured again"
    assert sorted(measured) == sorted((record.number, seed) for record in records for seed in seeds)
    assert len(missing()) == 0
    assert search.store.trials() == before
    costs = {cost.what: cost.seconds for cost in search.store.costs()}
    assert costs["confirm: sample, 80 images"] == 8 * 1.0
    other = confirmations(search.store, records, seeds=seeds, images=160, run_dir=tmp_path)
    assert len(other) == 8


def test_a_candidate_that_crashes_keeps_no_other_waiting(search: Any, run_trial: Any, tmp_path: Path) -> None:
    records, seeds = search.store.trials()[:3], fresh_seeds(0, 2)

    def crashes(order: Any, report: Any) -> Any:
        if order.number == 1:
            raise RuntimeError("of this candidate")
        return run_trial(order, report)

    run_locally(confirmations(search.store, records, seeds=seeds, images=80, run_dir=tmp_path), crashes)
    found = search.store.confirmations()[80]
    assert {number: sorted(rows) for number, rows in found.items()} == {0: seeds, 2: seeds}


def test_a_run_that_is_searched_is_left_alone(search: Any, tmp_path: Path) -> None:
    with one_driver(tmp_path, search.store.engine, "test"), pytest.raises(UserError, match="is being searched"):
        confirm(
            search.store,
            search.store.trials()[:2],
            seeds=[1, 2],
            images=80,
            run_dir=tmp_path,
            begins=lambda _: pytest.fail("it must not begin"),
        )

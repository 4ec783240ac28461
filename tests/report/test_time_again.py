"""What is timed again, what a front makes of it, and what a machine that was not quiet does to claims."""

from dataclasses import replace
from pathlib import Path

import pytest
from fake_run import LATENCY, QUALITY, FakeRun, confirm, tiny_store

from flexsearch.cli.results import front_of_run
from flexsearch.report.claim import claim_so_far, headline
from flexsearch.report.front import front_of
from flexsearch.report.near_front import to_time_again
from flexsearch.report.speedup import claims_of
from flexsearch.report.table import summary_lines
from flexsearch.report.trial_page import measured_again
from flexsearch.study.store import Store

NAMES = (QUALITY, LATENCY)
DENSE = [(40.0, 5.0, 2), (20.0, 10.0, 4), (10.0, 20.0, 8)]


def timed(store: Store, number: int, ms: float, *, spread: float = 0.01) -> None:
    own = store.trials()[number].measurements[LATENCY]
    store.record_timing(number, replace(own, value=ms, spread=spread * ms))


def numbers(store: Store) -> list[int]:
    return [record.number for record in to_time_again(front_of(store, NAMES))]


def test_claims_and_what_they_are_compared_with_are_timed_until_nothing_is_new(tmp_path: Path) -> None:
    """Trials 3 and 4 are claims, the latter by its luck; trial 5 is slower than what is free."""
    store = tiny_store(tmp_path, [(20.0, 5.0), (35.0, 2.0), (15.0, 15.0)], dense=DENSE)
    assert numbers(store) == [0, 1, 2, 3, 4]
    for number, ms in ((0, 5.0), (1, 10.0), (2, 20.0), (3, 5.0), (4, 6.5)):
        timed(store, number, ms)
    assert numbers(store) == []
    front = front_of(store, NAMES)
    assert [point.record.number for point, _ in claims_of(front.best_known)] == [3]
    assert front.row(front.complete[4]).latency.value == 6.5
    assert [front.row(front.complete[number]).is_timed_again for number in (3, 5)] == [True, False]
    assert store.trials()[4].measurements[LATENCY].value == 2.0, "the search's own"


def test_nothing_is_timed_where_nothing_is_claimed(tmp_path: Path) -> None:
    assert numbers(tiny_store(tmp_path, [(20.0, 15.0)], dense=DENSE)) == []


def test_a_machine_that_was_not_quiet_claims_nothing_and_says_so(tmp_path: Path) -> None:
    busy = [(40.0, 13.4, 3), (30.0, 14.9, 4), (25.0, 15.0, 5), (15.0, 29.1, 7), (10.0, 55.2, 10)]
    store = tiny_store(tmp_path, [(20.0, 14.5)], dense=busy)
    front = front_of(store, NAMES)
    assert front.row(front.complete[5]).speedup.value > 1.3
    assert headline(front.best_known, quality=QUALITY)[1] is None
    assert any("latencies disagree by 40%" in line and "remeasure" in line for line in summary_lines(front))
    for number, (_, _, steps) in enumerate(busy):
        timed(store, number, 2.5 * steps)
    timed(store, 5, 5.0)
    quiet = front_of(store, NAMES)
    assert quiet.disagreement is None
    assert headline(quiet.best_known, quality=QUALITY)[1] is not None
    assert not any("disagree" in line for line in summary_lines(quiet))


def test_a_timing_after_a_confirmation_is_that_of_what_was_confirmed(tmp_path: Path) -> None:
    run = FakeRun(folder=tmp_path / "run").make()
    timed(run.store, 4, 6.0)
    confirm(run, {0: (9.0, 20.0), 1: (15.0, 10.0), 2: (38.0, 6.0), 4: (14.0, 7.0)})
    front = front_of_run(run)
    assert front.best_known.by_number[4].latency_ms == pytest.approx(7.0, rel=0.01)
    assert not front.row(front.complete[4]).is_timed_again
    assert to_time_again(front) == []
    timed(run.store, 4, 8.0)
    again = front_of_run(run)
    assert again.best_known.by_number[4].latency_ms == 8.0
    assert again.row(again.complete[4]).printed["latency"] == "8.00"
    assert again.row(again.complete[4]).speedup.value < front.row(front.complete[4]).speedup.value
    first, second = measured_again(again, 4)
    assert measured_again(front, 4) == [first]
    assert first.startswith("Measured again (")
    assert second == "Timed again, interleaved with others: 8 ± 0.080 ms/image."


def test_a_search_that_goes_on_says_its_largest_claim(tmp_path: Path) -> None:
    records = tiny_store(tmp_path, [(20.0, 5.0)], dense=DENSE).trials()
    assert claim_so_far(records, NAMES) == (
        "so far: trial 3, 2.00x as fast as what is free at equal quality (fid_fashion_cnn 20, 5 ms)"
    )
    assert claim_so_far(records[:3], NAMES) == "so far nothing is faster than what is free at equal quality"
    assert claim_so_far([], NAMES) == "so far nothing is faster than what is free at equal quality"

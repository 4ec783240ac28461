"""What tables show beside the objectives: eager latencies, recall beside precision, similarities."""

from dataclasses import replace
from pathlib import Path

import pytest
from fake_run import LATENCY, QUALITY, measured, tiny_store

from flexsearch.latency.settings import EAGER
from flexsearch.measurement import Measurement
from flexsearch.report.front import Front, front_of
from flexsearch.report.table import front_frame, front_table, summary_lines
from flexsearch.study.store import Store

NAMES = (QUALITY, LATENCY)


@pytest.fixture
def front(tmp_path: Path) -> Front:
    """Two dense baselines and a searched trial, timed compiled and eager, with what is reported of images."""
    store = tiny_store(tmp_path, [(15.0, 4.0)], dense=[(20.0, 5.0, 2), (10.0, 10.0, 4)])
    for number, (quality, ms, eager) in enumerate(((20.0, 5.0, 10.0), (10.0, 10.0, 20.0), (15.0, 4.0, 6.0))):
        record(store, number, quality, ms, eager)
    return front_of(store, NAMES)


def record(store: Store, number: int, quality: float, ms: float, eager: float) -> None:
    found = measured(quality, ms)
    own = found.measurements[LATENCY]
    compiled = replace(own, protocol={**own.protocol, "compile": True})
    beside = replace(own, name=EAGER, value=eager, protocol={**own.protocol, "compile": False})
    shares = {
        name: Measurement(name=name, value=value, unit="1")
        for name, value in (("precision", 0.8), ("recall", 0.3), ("paired_distance", 0.4))
    }
    measurements = {**found.measurements, LATENCY: compiled, EAGER: beside, **shares}
    store.record(number, replace(found, measurements=measurements))


def test_both_latencies_are_shown_and_said(front: Front) -> None:
    assert front.is_compiled
    row = front.row(front.complete[2])
    assert row.printed["eager"] == "6.00"
    assert row.to_dict()[EAGER] == 6.0
    assert front_frame(front)[EAGER].tolist() == [10.0, 20.0, 6.0]
    assert any(
        line == "Compiled graphs beside eager ones: the dense base 2.00x as fast, searched trials 1.50x to 1.50x."
        for line in summary_lines(front)
    )
    headings = [column.heading for column in front_table(front).columns]
    assert "compiled\nms/image" in headings
    assert "eager\nms/image" in headings


def test_recall_stands_beside_precision(front: Front) -> None:
    assert front.beside == ["precision", "recall", "paired_distance"]
    headings = [column.heading for column in front_table(front).columns]
    assert headings.index("recall") == headings.index("precision") + 1
    row = front.row(front.complete[2])
    assert (row.printed["precision"], row.printed["recall"]) == ("0.8", "0.3")
    assert front_frame(front)["recall"].tolist() == [0.3] * 3


def test_plain_fronts_have_no_further_columns(tmp_path: Path) -> None:
    front = front_of(tiny_store(tmp_path, [(15.0, 4.0)], dense=[(10.0, 10.0, 4)]), NAMES)
    assert (front.beside, front.is_compiled) == ([], False)
    assert len(front_table(front).columns) == 6


def test_a_later_timing_replaces_both(tmp_path: Path) -> None:
    store = tiny_store(tmp_path, [(15.0, 4.0)], dense=[(10.0, 10.0, 4)])
    record(store, 0, 10.0, 10.0, 20.0)
    record(store, 1, 15.0, 4.0, 6.0)
    own = store.trials()[1].measurements
    store.record_timing(1, replace(own[LATENCY], value=3.0), replace(own[EAGER], value=5.0))
    (timing,) = store.timings().values()
    assert (timing.latency.value, [one.value for one in timing.beside]) == (3.0, [5.0])
    row = front_of(store, NAMES).row(front_of(store, NAMES).complete[1])
    assert (row.latency.value, row.eager.value) == (3.0, 5.0)

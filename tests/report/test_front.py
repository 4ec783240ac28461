"""The front against brute force, its contract, its comparison with fewer steps, and what is written of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders import LATENCY, QUALITY, result, store_of
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.families.dense import Dense
from flexsearch.schedule.families.pooling import Pooling
from flexsearch.schedule.sampling import Sampling

from flexsearch.report.claims import compare, dense_curve, largest_gain
from flexsearch.report.front import front_of
from flexsearch.report.plot import plot_front
from flexsearch.report.table import front_frame, front_table, summary_lines
from flexsearch.schedule.density import DensitySchedule
from flexsearch.study.store import Store

NAMES = (QUALITY, LATENCY)


@pytest.fixture
def fill(tmp_path: Path) -> Callable[..., Store]:
    def fill_(points: list[tuple[float, float]], *, baselines: list[tuple[float, float, int]] = ()) -> Store:
        dense = [
            (f"dense, {steps} steps" if index else "dense", steps, result(quality, latency))
            for index, (quality, latency, steps) in enumerate(baselines)
        ]
        return store_of(tmp_path, [*dense, *((None, 10, result(*point)) for point in points)])

    return fill_


def brute_force(points: list[tuple[float, float]]) -> set[tuple[float, float]]:
    def dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a[0] <= b[0] and a[1] <= b[1] and a != b

    return {point for point in points if not any(dominates(other, point) for other in points)}


def area(points: set[tuple[float, float]], reference: tuple[float, ...]) -> float:
    """The union of the rectangles between points and reference, from vertical strips."""
    ordered = sorted(
        (latency, quality) for quality, latency in points if quality < reference[0] and latency < reference[1]
    )
    total, best = 0.0, reference[0]
    for index, (latency, quality) in enumerate(ordered):
        best = min(best, quality)
        end = ordered[index + 1][0] if index + 1 < len(ordered) else reference[1]
        total += (end - latency) * (reference[0] - best)
    return total


@pytest.mark.parametrize("seed", range(8))
def test_front_and_hypervolume_equal_brute_force(fill: Callable[..., Store], seed: int) -> None:
    generator = np.random.default_rng(seed)
    points = [(float(q), float(x)) for q, x in generator.integers(1, 15, (30, 2))]
    baselines = [(8.0, 20.0, 10), (16.0, 9.0, 5)]
    front = front_of(fill(points, baselines=baselines), NAMES)
    expected = brute_force([*points, *((q, x) for q, x, _ in baselines)])
    assert {front.values(record) for record in front.points} == expected
    assert front.reference_point == pytest.approx((1.1 * 16, 1.1 * 20))
    assert front.hypervolume == pytest.approx(area(expected, front.reference_point))
    latencies = [front.values(record)[1] for record in front.points]
    assert latencies == sorted(latencies)
    assert len(front.points) + len(front.others) + sum(b not in front.points for b in front.baselines) == 32


def test_protocols_never_share_a_front(fill: Callable[..., Store]) -> None:
    store = fill([(5.0, 5.0), (4.0, 6.0)])
    schedule = DensitySchedule(segments=(Pooling(depth=2), Dense(depth=2)))
    store.start(2, Candidate(schedule=schedule, sampling=Sampling(steps=10)), baseline=None)
    store.record(2, result(0.1, 0.1, images=50))
    front = front_of(store, NAMES)
    assert {record.number for record in front.points} == {0, 1}


def test_an_empty_run_has_an_empty_front(fill: Callable[..., Store], tmp_path: Path) -> None:
    front = front_of(fill([]), NAMES)
    assert front.points == ()
    assert front.hypervolume == 0
    assert json.loads(json.dumps(front.to_dict()))["front"] == []
    plot_front(front, tmp_path / "empty.png")
    assert summary_lines(front) == ["Trials: none. Hypervolume 0."]


DENSE = [(10.0, 20.0, 10), (15.0, 10.0, 5), (25.0, 5.0, 3)]


def test_comparison_with_the_dense_base(fill: Callable[..., Store]) -> None:
    """At 7.5 ms the dense base is at 20 between 5 and 3 steps; at 10 steps it takes 20 ms."""
    front = front_of(fill([(12.0, 7.5), (40.0, 2.0)], baselines=DENSE), NAMES)
    assert [front.values(record)[1] for record in dense_curve(front)] == [5.0, 10.0, 20.0]
    by_number = {record.number: record for record in (*front.points, *front.others)}
    good, fast = compare(front, by_number[3]), compare(front, by_number[4])
    assert good.speedup == pytest.approx(20 / 7.5)
    assert good.gain == pytest.approx(20.0 - 12.0)
    assert fast.gain is None
    assert largest_gain(front) == good
    assert any(
        line.startswith("Largest gain: trial 3, 2.67x faster") and "+8 better" in line for line in summary_lines(front)
    )


def test_the_contract_of_front_json(fill: Callable[..., Store]) -> None:
    found = json.loads(json.dumps(front_of(fill([(12.0, 7.5)], baselines=DENSE), NAMES).to_dict()))
    assert {"study", "objectives", "reference_point", "hypervolume", "counts", "front", "baselines"} <= set(found)
    assert found["objectives"][0] == {
        "name": "fid_fashion_cnn",
        "unit": "1",
        "direction": "minimize",
        "protocol": {"images": 500, "seed": 0},
    }
    assert set(found["counts"]) == {"complete", "pruned", "infeasible", "duplicate", "failed", "running"}
    rows = found["front"] + found["baselines"]
    keys = {"trial", "values", "macs", "macs_ratio", "digest", "baseline", "schedule"}
    assert all(set(row) == keys for row in rows)
    assert [row["baseline"] for row in found["baselines"]] == ["dense", "dense, 5 steps", "dense, 3 steps"]
    searched = next(row for row in found["front"] if row["baseline"] is None)
    assert searched["values"] == {"fid_fashion_cnn": 12.0, "latency_ms": 7.5}
    assert searched["macs_ratio"] == pytest.approx(7.5 / 20)
    assert Candidate.from_dict(searched["schedule"]).digest == searched["digest"]


def test_table_csv_and_pictures(fill: Callable[..., Store], tmp_path: Path) -> None:
    store = fill([(12.0, 7.5), (30.0, 30.0)], baselines=DENSE)
    front = front_of(store, NAMES)
    frame = front_frame(front)
    frame.to_csv(tmp_path / "front.csv", index=False)
    again = pd.read_csv(tmp_path / "front.csv")
    assert list(again["trial"]) == [0, 1, 2, 3, 4]
    assert dict(zip(again["trial"], again["on_front"], strict=True)) == {0: True, 1: False, 2: True, 3: True, 4: False}
    assert again.loc[3, "speedup_at_same_steps"] == pytest.approx(20 / 7.5)
    assert front_table(front).row_count == 3 + 1
    for suffix in ("png", "svg", "pdf"):
        plot_front(front, tmp_path / f"front.{suffix}")
        assert (tmp_path / f"front.{suffix}").stat().st_size > 5000


def test_the_summary_says_noise_beside_spread(fill: Callable[..., Store]) -> None:
    store = fill([(12.0, 7.5), (11.0, 8.0)], baselines=DENSE)
    for number, shift in ((3, 0.0), (4, 1.0)):
        store.record(number, result(11.0 + shift, 8.0), seed=1)
    lines = summary_lines(front_of(store, NAMES))
    assert any(line.startswith("Noise of fid_fashion_cnn:") and "the front spans" in line for line in lines)


def test_states_are_counted(fill: Callable[..., Store]) -> None:
    store = fill([(12.0, 7.5)])
    candidate: Any = store.trials()[0].candidate
    for number, state in enumerate(["failed", "duplicate", "infeasible"], start=1):
        store.start(number, candidate, baseline=None)
        store.end(number, state)
    store.start(4, candidate, baseline=None)
    store.record(4, replace(result(1.0, 1.0), state="pruned"))
    store.start(5, candidate, baseline=None)
    front = front_of(store, NAMES)
    assert dict(front.counts) == {
        "complete": 1,
        "pruned": 1,
        "infeasible": 1,
        "duplicate": 1,
        "failed": 1,
        "running": 1,
    }
    assert len(front.points) == 1

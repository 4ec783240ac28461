"""The front against brute force, its contract, its comparison with fewer steps, and what is written of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_run import LATENCY, QUALITY, measured, tiny_store

from flexsearch.report.front import front_of
from flexsearch.report.plot import plot_front
from flexsearch.report.table import front_frame, front_table, summary_lines
from flexsearch.schedule import Candidate

NAMES = (QUALITY, LATENCY)


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
def test_front_and_hypervolume_equal_brute_force(tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    points = [(float(q), float(x)) for q, x in generator.integers(1, 15, (30, 2))]
    dense = [(8.0, 20.0, 10), (16.0, 9.0, 5)]
    front = front_of(tiny_store(tmp_path, points, dense=dense), NAMES)
    expected = brute_force([*points, *((q, x) for q, x, _ in dense)])
    assert {front.values(record) for record in front.points} == expected
    assert front.reference_point == pytest.approx((1.1 * 16, 1.1 * 20))
    assert front.hypervolume == pytest.approx(area(expected, front.reference_point))
    latencies = [front.values(record)[1] for record in front.points]
    assert latencies == sorted(latencies)
    assert len(front.points) + len(front.others) + sum(b not in front.points for b in front.baselines) == 32


def test_protocols_never_share_a_front_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    store = tiny_store(tmp_path, [(5.0, 5.0), (4.0, 6.0), (0.1, 0.1)])
    assert front_of(store, NAMES).left_out == 0
    store.record(2, measured(0.1, 0.1, images=50))
    front = front_of(store, NAMES)
    assert {record.number for record in front.points} == {0, 1}
    assert front.to_dict()["left_out"] == 1
    assert any(line.startswith("Left out: 1 complete trial ") for line in summary_lines(front))


DENSE = [(10.0, 20.0, 10), (15.0, 10.0, 5), (25.0, 5.0, 3)]


def test_the_contract_of_front_json(tmp_path: Path) -> None:
    found = json.loads(json.dumps(front_of(tiny_store(tmp_path, [(12.0, 7.5)], dense=DENSE), NAMES).to_dict()))
    assert {"study", "objectives", "reference_point", "hypervolume", "counts", "front", "baselines"} <= set(found)
    assert found["objectives"][0] == {
        "name": "fid_fashion_cnn",
        "unit": "1",
        "direction": "minimize",
        "protocol": {"images": 500, "seed": 0},
    }
    assert set(found["counts"]) == {"complete", "pruned", "infeasible", "duplicate", "failed", "running"}
    rows = found["front"] + found["baselines"]
    keys = {"trial", "values", "macs", "macs_ratio", "digest", "baseline", "free", "schedule", "sampling", "gain"}
    assert all(set(row) == keys for row in rows)
    assert [row["baseline"] for row in found["baselines"]] == ["dense, 10 steps", "dense, 5 steps", "dense, 3 steps"]
    searched = next(row for row in found["front"] if row["baseline"] is None)
    assert searched["values"] == {"fid_fashion_cnn": 12.0, "latency_ms": 7.5}
    assert searched["macs_ratio"] == pytest.approx(7.5 / 20)
    assert (searched["sampling"], searched["free"]) == ("x10", False)
    assert searched["gain"] == {
        "over_free_baselines": pytest.approx(8.0),
        "over_all_free": None,
        "speedup_at_same_steps": pytest.approx(20 / 7.5),
        "as_good_as_dense_steps": 5,
        "speedup_as_good": pytest.approx(10 / 7.5),
    }
    assert Candidate.from_dict(searched["schedule"]).digest == searched["digest"]


def test_table_csv_and_pictures(tmp_path: Path) -> None:
    store = tiny_store(tmp_path, [(12.0, 7.5), (30.0, 30.0)], dense=DENSE)
    front = front_of(store, NAMES)
    frame = front_frame(front)
    frame.to_csv(tmp_path / "front.csv", index=False)
    again = pd.read_csv(tmp_path / "front.csv")
    assert list(again["trial"]) == [0, 1, 2, 3, 4]
    assert dict(zip(again["trial"], again["on_front"], strict=True)) == {0: True, 1: False, 2: True, 3: True, 4: False}
    assert again.loc[3, "speedup_at_same_steps"] == pytest.approx(20 / 7.5)
    assert again.loc[3, "gain_over_free_baselines"] == pytest.approx(8.0)
    assert again.loc[3, ["steps", "sampling", "free"]].tolist() == [10, "x10", False]
    assert len(front_table(front).rows) == 3 + 1
    for suffix, begins in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        plot_front(front, tmp_path / f"front.{suffix}")
        assert (tmp_path / f"front.{suffix}").read_bytes().startswith(begins)


def test_the_summary_says_noise_beside_spread(tmp_path: Path) -> None:
    store = tiny_store(tmp_path, [(12.0, 7.5), (11.0, 8.0)], dense=DENSE)
    for number, shift in ((3, 0.0), (4, 1.0)):
        store.record(number, measured(11.0 + shift, 8.0), seed=1)
    lines = summary_lines(front_of(store, NAMES))
    assert any(line.startswith("Noise of fid_fashion_cnn:") and "the front spans" in line for line in lines)


def test_an_empty_run_has_an_empty_front_and_states_are_counted(tmp_path: Path) -> None:
    empty = front_of(tiny_store(tmp_path / "empty", []), NAMES)
    assert (empty.points, empty.hypervolume) == ((), 0)
    assert json.loads(json.dumps(empty.to_dict()))["front"] == []
    plot_front(empty, tmp_path / "empty.png")
    assert summary_lines(empty) == ["Trials: none. Hypervolume 0."]
    store = tiny_store(tmp_path, [(12.0, 7.5)])
    candidate: Any = store.trials()[0].candidate
    for number, state in enumerate(["failed", "duplicate", "infeasible"], start=1):
        store.start(number, candidate, baseline=None)
        store.end(number, state)
    store.start(4, candidate, baseline=None)
    store.record(4, replace(measured(1.0, 1.0), state="pruned"))
    store.start(5, candidate, baseline=None)
    front = front_of(store, NAMES)
    assert front.counts == dict.fromkeys(("complete", "pruned", "infeasible", "duplicate", "failed", "running"), 1)
    assert len(front.points) == 1

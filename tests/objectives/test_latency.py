"""Latency: medians against an interleaved reference, tested with a clock that the test moves."""

import time
from typing import Any

import pytest
import torch
from flexsearch.objectives.latency import half_interquartile, interleaved_seconds, measure_latency

from flexsearch.objectives import latency as module
from flexsearch.objectives.settings import LatencySettings

CPU = torch.device("cpu")


class Clock:
    """A clock that workloads move, on a machine whose speed drifts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.slowdown = 1.0
        monkeypatch.setattr(module.time, "perf_counter", lambda: self.now)

    def workload(self, seconds: float, paired_distance: float = 1.0) -> Any:
        def run() -> None:
            self.now += seconds * self.slowdown
            self.slowdown *= paired_distance

        return run


def measured(clock: Clock, seconds: float, *, paired_distance: float = 1.0, reference_ms: float | None = None) -> Any:
    return measure_latency(
        clock.workload(seconds, paired_distance),
        clock.workload(0.5),
        reference_ms=reference_ms,
        settings=LatencySettings(batch=4, repeats=5, threads=1),
        device=CPU,
        protocol={"guidance": 1.0},
    )


def test_latency_is_per_image(monkeypatch: pytest.MonkeyPatch) -> None:
    found, reference_ms = measured(Clock(monkeypatch), 2.0)
    assert found.value == pytest.approx(500)
    assert reference_ms == pytest.approx(500)
    assert found.unit == "ms/image"
    assert found.spread == pytest.approx(0)
    assert found.protocol["batch"] == 4
    assert found.protocol["guidance"] == 1.0
    assert "1 thread" in found.protocol["device"]


def test_a_machine_that_slows_down_does_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = measured(Clock(monkeypatch), 2.0, paired_distance=1.3, reference_ms=500)
    assert found.value == pytest.approx(500, rel=0.35)  # one round's drift, not five
    clock = Clock(monkeypatch)
    clock.slowdown = 3.0
    found, _ = measured(clock, 2.0, reference_ms=500)
    assert found.value == pytest.approx(500)


def test_rounds_alternate_after_one_warm_up() -> None:
    calls: list[str] = []
    times = interleaved_seconds([lambda: calls.append("a"), lambda: calls.append("b")], repeats=3, device=CPU)
    assert calls == ["a", "b"] * 4
    assert [len(column) for column in times] == [3, 3]


def test_threads_are_restored() -> None:
    before = torch.get_num_threads()
    measure_latency(
        lambda: time.sleep(0.001),
        lambda: time.sleep(0.001),
        reference_ms=None,
        settings=LatencySettings(batch=1, repeats=2, threads=1),
        device=CPU,
        protocol={},
    )
    assert torch.get_num_threads() == before


def test_half_interquartile_range() -> None:
    assert half_interquartile([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(1.0)
    assert half_interquartile([7.0]) == 0.0

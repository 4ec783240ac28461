"""Other work is noticed where a timing does not fit beside it."""

import pytest
import torch

from flexsearch.latency import quiet
from flexsearch.latency.quiet import busy_cores, disturbance

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet.os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)


@pytest.mark.parametrize(
    ("others", "threads", "is_disturbed"),
    [(0.1, None, False), (0.5, None, True), (2.9, 1, False), (3.5, 1, True), (0.5, 4, True), (-0.1, 4, False)],
)
def test_threads_must_fit_beside_what_others_use(
    four_cores: None, monkeypatch: pytest.MonkeyPatch, others: float, threads: int | None, *, is_disturbed: bool
) -> None:
    monkeypatch.setattr(quiet, "busy_cores", lambda: others)
    said = disturbance(CPU, threads=threads)
    assert (said is not None) == is_disturbed
    assert said is None or f"{others:.1f} of 4 cores are busy with something else" in said


@pytest.mark.parametrize(("percent", "is_disturbed"), [(None, False), (3, False), (85, True)])
def test_a_gpu_that_works_for_others_is_noticed(
    four_cores: None, monkeypatch: pytest.MonkeyPatch, percent: int | None, *, is_disturbed: bool
) -> None:
    monkeypatch.setattr(quiet, "busy_cores", lambda: 2.0)
    monkeypatch.setattr(quiet, "gpu_percent", lambda _: percent)
    said = disturbance(GPU, threads=None)
    assert (said is not None) == is_disturbed
    assert said is None or "85 % busy" in said


def test_a_driver_that_cannot_be_asked_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: torch.device) -> int:
        raise ModuleNotFoundError("pynvml")

    monkeypatch.setattr(torch.cuda, "utilization", fails)
    assert quiet.gpu_percent(GPU) is None


def test_busy_cores_are_those_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one second of four cores three were busy, one of them with this process."""
    readings = iter([(10.0, 100.0, 5.0), (13.0, 104.0, 6.0)])
    monkeypatch.setattr(quiet, "_times", lambda: next(readings))
    monkeypatch.setattr(quiet, "WATCHED_S", 0.0)
    monkeypatch.setattr(quiet.os, "cpu_count", lambda: 4)
    assert busy_cores() == pytest.approx(2.0) if quiet._STAT.exists() else busy_cores() >= 0

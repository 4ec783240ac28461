"""Other work is noticed where a timing does not fit beside it."""

import pytest
import torch

from flexsearch.latency import quiet
from flexsearch.latency.quiet import disturbance

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet, "num_cores", lambda: 4)


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

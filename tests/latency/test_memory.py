"""Peak memory of a batch: what is counted, tested with a stand-in for the GPU's allocator, and its limit."""

import pytest
import torch
from torch import nn

from flexsearch.errors import UserError
from flexsearch.latency.gate import infeasible_reason, memory_constraint
from flexsearch.latency.memory import check_can_measure, measure_memory
from flexsearch.measurement import Measurement
from flexsearch.models.offload import offload_layers

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Allocator:
    """Counts bytes as `torch.cuda` does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held = self.peak = 7_000_000_000
        monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: self.held)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: self.peak)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", self.reset)

    def reset(self, _: torch.device) -> None:
        self.peak = self.held

    def work(self) -> None:
        """Takes three GB, gives two back, and takes one more."""
        for change in (3, -2, 1):
            self.held += change * 1_000_000_000
            self.peak = max(self.peak, self.held)


def test_memory_is_weights_and_what_a_batch_adds_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else the process holds is not the candidate's, and weights with two names count once."""
    model = nn.Sequential(nn.Linear(1000, 1000, bias=False), nn.Linear(1000, 1000, bias=False))
    one = measure_memory(Allocator(monkeypatch).work, model, device=CUDA, protocol={"batch": 8})
    assert one is not None
    assert (one.name, one.unit, one.protocol["batch"]) == ("memory_gb", "GB", 8)
    assert one.value == pytest.approx(3.008)
    model[1].weight = model[0].weight
    shared = measure_memory(Allocator(monkeypatch).work, model, device=CUDA, protocol={})
    assert shared is not None
    assert shared.value == pytest.approx(3.004)
    offload_layers(model, "cpu")
    offloaded = measure_memory(Allocator(monkeypatch).work, model, device=CUDA, protocol={})
    assert offloaded is not None
    assert offloaded.value == pytest.approx(3.0)


def test_nothing_counts_it_on_a_cpu() -> None:
    assert measure_memory(lambda: None, nn.Linear(2, 2), device=CPU, protocol={}) is None
    check_can_measure(CPU, max_gb=None)
    check_can_measure(CUDA, max_gb=24.0)
    with pytest.raises(UserError, match=r"^objectives\.memory\.max_gb: is measured on a GPU alone, but got 24 on cpu$"):
        check_can_measure(CPU, max_gb=24.0)


@pytest.mark.parametrize(("max_gb", "reason"), [(None, None), (24.0, None), (20.0, "it needs 1.5 GB more than")])
def test_a_limit_is_a_constraint(max_gb: float | None, reason: str | None) -> None:
    latency = Measurement(name="latency_ms", value=3.0, unit="ms/image")
    memory = Measurement(name="memory_gb", value=21.5, unit="GB")
    constraints = memory_constraint(memory, max_gb=max_gb)
    assert constraints == ({} if max_gb is None else {"memory_limit_gb": 21.5 - max_gb})
    found = infeasible_reason(latency, {"latency_limit_ms": -1, "slower_than_dense": 0, **constraints}, max_ms=None)
    assert found is None if reason is None else str(found).startswith(reason)


@pytest.mark.gpu
def test_the_allocator_of_a_gpu() -> None:
    model, kept = nn.Linear(4096, 4096, bias=False).to(CUDA), list[torch.Tensor]()
    found = measure_memory(
        lambda: kept.append(model(torch.ones(4096, 4096, device=CUDA))), model, device=CUDA, protocol={}
    )
    assert found is not None
    assert found.value == pytest.approx(3 * 4096**2 * 4 / 1e9, rel=0.2)  # weights, what goes in, and what comes out

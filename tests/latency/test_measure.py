"""Latency: medians against an interleaved reference, tested with a clock that the test moves."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DiTTransformer2DModel, FlowMatchEulerDiscreteScheduler

from flexsearch.diffusion.sampling import denoise, initial_noise, plan_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.latency import measure as module
from flexsearch.latency.image_timer import ImageTimer, one_batch
from flexsearch.latency.measure import half_interquartile, interleaved_seconds, relative_times
from flexsearch.latency.settings import LatencySettings
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.loading import Base
from flexsearch.schedule import DensitySchedule, Sampling

CPU = torch.device("cpu")


class Clock:
    """A clock that workloads move, on a machine whose speed drifts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.slowdown = 1.0
        monkeypatch.setattr(module.time, "perf_counter", lambda: self.now)

    def workload(self, seconds: float, *, drift: Callable[[float], float] = lambda slowdown: slowdown) -> Any:
        def run() -> None:
            self.now += seconds * self.slowdown
            self.slowdown = drift(self.slowdown)

        return run

    def measured(self, seconds: float, *, drift: float = 1.0, reference_ms: float | None = None) -> Any:
        return module.measure_latency(
            self.workload(seconds, drift=lambda slowdown: slowdown * drift),
            self.workload(0.5),
            reference_ms=reference_ms,
            settings=LatencySettings(batch=4, repeats=5, threads=1),
            device=CPU,
            protocol={"guidance": 1.0},
        )


def test_latency_is_per_image(monkeypatch: pytest.MonkeyPatch) -> None:
    found, reference_ms = Clock(monkeypatch).measured(2.0)
    assert (found.value, reference_ms, found.spread) == pytest.approx((500, 500, 0))
    assert found.unit == "ms/image"
    assert {"repeats": 5, "guidance": 1.0}.items() <= found.protocol.items()


def test_a_machine_that_slows_down_does_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = Clock(monkeypatch).measured(2.0, drift=1.3, reference_ms=500)
    assert found.value == pytest.approx(500, rel=0.35)  # one round's drift, not five
    clock = Clock(monkeypatch)
    clock.slowdown = 3.0
    found, _ = clock.measured(2.0, reference_ms=500)
    assert found.value == pytest.approx(500)


def test_a_machine_that_slows_down_steadily_changes_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, seen = Clock(monkeypatch), list[tuple[int, int]]()
    short, long, reference = (
        clock.workload(seconds, drift=lambda slowdown: slowdown + 0.25) for seconds in (1.0, 3.0, 2.0)
    )
    ratios, errors, reference_s = relative_times(
        [short, long], reference, rounds=3, device=CPU, report=lambda *done: seen.append(done)
    )
    assert ratios == pytest.approx([0.5, 1.5])
    assert errors == pytest.approx([0.0, 0.0], abs=1e-9)
    assert reference_s > 2.0
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_rounds_alternate_after_one_warm_up_and_their_spread_is_half_an_interquartile_range() -> None:
    calls: list[str] = []
    times = interleaved_seconds([lambda: calls.append("a"), lambda: calls.append("b")], repeats=3, device=CPU)
    assert calls == ["a", "b"] * 4
    assert [len(column) for column in times] == [3, 3]
    assert half_interquartile([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(1.0)
    assert half_interquartile([7.0]) == 0.0


def test_another_plan_on_the_same_weights(tiny_base: DiTTransformer2DModel, sparse_schedule: DensitySchedule) -> None:
    """What is timed is what the schedule's own model computes, and the model stays all-dense."""
    model, scheduler = FlexDiT.from_base(tiny_base).eval(), FlowMatchEulerDiscreteScheduler()
    expected = model.clone()
    expected.set_schedule(sparse_schedule)
    settings = SamplingSettings()
    plan, dense_plan = (plan_of(one, scheduler, Sampling(steps=3), settings) for one in (expected, model))
    labels = {"condition": {"class_labels": torch.tensor([1, 4])}, "none": {"class_labels": torch.tensor([10, 10])}}
    arguments: dict[str, Any] = {**labels, "settings": settings}
    noise = initial_noise(range(2), shape=model.shape.sample_size, seed=0)
    drawn = one_batch(model, scheduler, plan, **arguments)()
    wanted = denoise(expected, scheduler, plan, noise=noise, **arguments)
    assert isinstance(drawn, torch.Tensor)
    assert torch.equal(drawn, wanted)
    assert not torch.equal(drawn, denoise(model, scheduler, dense_plan, noise=noise, **arguments))
    assert model.schedule.is_dense


def test_a_first_step_from_means_that_are_not_measured_yet_is_timed(tiny_base: DiTTransformer2DModel) -> None:
    """`flexsearch profile` and the check of a budget come before the means."""
    model, scheduler, settings = (
        FlexDiT.from_base(tiny_base).eval(),
        FlowMatchEulerDiscreteScheduler(),
        SamplingSettings(),
    )
    plan = plan_of(model, scheduler, Sampling(steps=2, start="gaussian"), settings)
    labels = {"class_labels": torch.tensor([1])}
    drawn = one_batch(model, scheduler, plan, condition=labels, none=labels, settings=settings)()
    assert isinstance(drawn, torch.Tensor)
    assert drawn.isfinite().all()


def test_a_timer_says_how_and_restores_the_threads(tiny_base: DiTTransformer2DModel) -> None:
    base = Base(model=FlexDiT.from_base(tiny_base).eval(), scheduler=FlowMatchEulerDiscreteScheduler())
    plan = plan_of(base.model, base.scheduler, Sampling(steps=1), SamplingSettings())
    condition = {"class_labels": torch.tensor([1])}
    timer = ImageTimer(
        base=base,
        target=plan.target,
        settings=LatencySettings(batch=1, repeats=2, threads=1),
        sampling=SamplingSettings(),
        condition=condition,
        none=condition,
    )
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found, _ = timer.measure(plan)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert found.value > 0
    assert "1 thread" in found.protocol["device"]
    assert {"batch": 1, "guidance": 1.0, "dtype": "fp32", "spacing": "pipeline"}.items() <= found.protocol.items()
    assert "sampler" not in found.protocol
    assert len(timer.reference.steps) == 2
    assert timer.reference.candidate.schedule.is_dense

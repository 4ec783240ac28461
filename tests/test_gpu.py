"""What only a CUDA device can show. Run with `uv run pytest -m gpu`."""

import copy
import time

import pytest
import torch
from diffusers import DDIMScheduler, DiTTransformer2DModel, FlowMatchEulerDiscreteScheduler

from flexsearch.data.conditions import ClassConditions
from flexsearch.diffusion.sampling import denoise, generate, on, plan_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.latency.measure import seconds_of
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.sampling import Sampling

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
CUDA = torch.device("cuda")
CLASSES = ClassConditions(num_classes=10)


def test_all_dense_equals_the_base_to_the_bit(tiny_base: DiTTransformer2DModel) -> None:
    base = copy.deepcopy(tiny_base).to(CUDA)
    model = FlexDiT.from_base(copy.deepcopy(base)).eval()
    noisy, labels = torch.randn(3, 1, 16, 16, device=CUDA), torch.tensor([1, 10, 4], device=CUDA)
    timestep = torch.full((3,), 500.0, device=CUDA)
    with torch.inference_mode():
        assert torch.equal(model(noisy, timestep, class_labels=labels).sample, base(noisy, timestep, labels).sample)


def test_a_sparse_model_agrees_with_the_cpu(tiny_model: FlexDiT) -> None:
    def drawn(model: FlexDiT) -> torch.Tensor:
        settings = SamplingSettings()
        scheduler = FlowMatchEulerDiscreteScheduler()
        plan = plan_of(model, scheduler, Sampling(steps=2), settings)
        batches = generate(model, scheduler, plan, conditions=CLASSES, num_images=4, batch=4, seed=0, settings=settings)
        return torch.cat(list(batches)).cpu()

    expected = drawn(tiny_model)
    torch.testing.assert_close(drawn(copy.deepcopy(tiny_model).to(CUDA)), expected, rtol=1e-2, atol=1e-2)


def test_events_time_the_device_and_not_the_launch() -> None:
    matrix = torch.randn(4096, 4096, device=CUDA)

    def workload() -> None:
        for _ in range(50):
            matrix @ matrix

    seconds_of(workload, CUDA)
    begun = time.perf_counter()
    by_events = seconds_of(workload, CUDA)
    assert by_events == pytest.approx(time.perf_counter() - begun, rel=0.2)


def test_bf16_sampling_stays_close(tiny_model: FlexDiT) -> None:
    model = tiny_model.to(CUDA)
    model.set_schedule(DensitySchedule.all_dense(6))
    images = [
        torch.cat(
            list(
                generate(
                    model,
                    FlowMatchEulerDiscreteScheduler(),
                    plan_of(model, FlowMatchEulerDiscreteScheduler(), Sampling(steps=2), SamplingSettings()),
                    conditions=CLASSES,
                    num_images=4,
                    batch=4,
                    seed=0,
                    settings=SamplingSettings(dtype=dtype),
                )
            )
        )
        for dtype in ("fp32", "bf16")
    ]
    assert images[1].dtype == torch.float32
    assert float((images[0] - images[1]).abs().mean()) < 0.1 * float(images[0].abs().mean())


def test_the_sampling_loop_never_waits_for_the_device(tiny_model: FlexDiT) -> None:
    model, condition = tiny_model.to(CUDA), on(CUDA, CLASSES.of_samples(range(4)))
    none, noise = on(CUDA, CLASSES.none(4)), torch.randn(4, 1, 16, 16, device=CUDA)
    settings = SamplingSettings(guidance=2.0)
    plan = plan_of(model, DDIMScheduler(), Sampling(steps=4), settings)
    options = {"noise": noise, "condition": condition, "none": none, "settings": settings}
    denoise(model, DDIMScheduler(), plan, **options)
    torch.cuda.set_sync_debug_mode("error")
    try:
        denoise(model, DDIMScheduler(), plan, **options)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled_stages_agree_with_the_plain_ones(tiny_model: FlexDiT, mode: str) -> None:
    """`reduce-overhead` replays a CUDA graph per stage."""
    model = tiny_model.to(CUDA).eval()
    noisy, labels = torch.randn(3, 1, 16, 16, device=CUDA), torch.tensor([1, 10, 4], device=CUDA)
    with torch.inference_mode():
        times = [torch.full((3,), time, device=CUDA) for time in (100.0, 900.0, 100.0)]
        plain = [model(noisy, time, class_labels=labels).sample for time in times]
        model.fuse()
        model.compile_stages(mode=mode)
        for time, expected in zip(times, plain, strict=True):
            found = model(noisy, time, class_labels=labels).sample.clone()
            torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)

"""The optimiser loop: resumes to the same weights, averages them, distils."""

import io
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from diffusers import DiTTransformer2DModel
from safetensors.torch import save_file

from flexsearch.data.embedded import load_quickstart
from flexsearch.diffusion.batches import BatchStream
from flexsearch.diffusion.optimisation import Optimisation
from flexsearch.diffusion.process import FlowMatching
from flexsearch.diffusion.training import Training
from flexsearch.errors import Note
from flexsearch.models.flexdit import FlexDiT
from flexsearch.trial.teacher import stored_teacher


def training(base: DiTTransformer2DModel, **changes: object) -> Training:
    model = FlexDiT.from_base(base).clone()
    options = {"updates": 6, "batch": 4, "learning_rate": 1e-2, "decay": "linear", "ema_decay": 0.5, **changes}
    return Training(
        model,
        process=FlowMatching(),
        stream=BatchStream(data=load_quickstart(), batch=4, seed=0),
        optimisation=Optimisation(**options),
    )


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tiny_base: DiTTransformer2DModel) -> None:
    whole = training(tiny_base)
    losses = [step.loss for step in whole.run()]
    first, saved = training(tiny_base), io.BytesIO()
    steps = first.run()
    resumed_losses = [next(steps).loss for _ in range(3)]
    torch.save(first.state_dict(), saved)
    saved.seek(0)
    second = training(tiny_base)
    second.load_state_dict(torch.load(saved, weights_only=True))
    resumed_losses += [step.loss for step in second.run()]
    assert resumed_losses == losses
    for one, other in zip(whole.averaged.parameters(), second.averaged.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_average_follows_its_decay(tiny_base: DiTTransformer2DModel) -> None:
    """It starts as the weights after the first update; the decay is (1 + u) / (10 + u) until that reaches its value."""
    run = training(tiny_base, updates=3, ema_decay=0.2)
    weight = next(iter(run.model.parameters()))
    seen = [weight.detach().clone() for _ in run.run()]
    expected = seen[0]
    for decay, now in zip((2 / 11, 0.2), seen[1:], strict=True):
        expected = decay * expected + (1 - decay) * now
    torch.testing.assert_close(next(iter(run.averaged.parameters())), expected)


def test_training_lowers_the_loss(tiny_base: DiTTransformer2DModel) -> None:
    losses = [step.loss for step in training(tiny_base, updates=40, learning_rate=3e-3).run()]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_distillation_pulls_towards_the_teacher(tiny_base: DiTTransformer2DModel) -> None:
    run = training(tiny_base, updates=1, distillation=2.0)
    batch = run.stream.at(0)
    plain = float(run.loss(0, batch).detach())
    run.teacher = lambda _update, _batch, noisy, _time: torch.zeros_like(noisy)
    noisy, time = run.process.noisy(batch.clean, batch.noise, batch.time), run.process.model_time(batch.time)
    output = run.model(noisy, time, **batch.condition).sample
    assert float(run.loss(0, batch).detach()) == pytest.approx(
        plain + 2.0 * float((output**2).mean().detach()), rel=1e-5
    )


@pytest.mark.parametrize("fits", [2, 1])
def test_what_does_not_fit_into_memory_is_tried_once_at_half(
    tiny_base: DiTTransformer2DModel, tmp_path: Path, fits: int
) -> None:
    """The device has room for `fits` of the 4 examples of a batch; a stored teacher is asked for those alone."""
    lessons = {str(update): torch.randn(4, 1, 16, 16) for update in range(3)}
    save_file(lessons, tmp_path / "lessons.safetensors")
    whole, small = (training(tiny_base, updates=3, distillation=1.0) for _ in range(2))
    whole.teacher = small.teacher = stored_teacher(tmp_path / "lessons.safetensors")

    def room(_: object, inputs: tuple[torch.Tensor, ...]) -> None:
        if len(inputs[0]) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")

    small.model.register_forward_pre_hook(room)
    losses: list[float] = []
    ends = nullcontext() if fits == 2 else pytest.raises(torch.OutOfMemoryError)
    with pytest.warns(Note, match="out of memory at update 1: 2 examples at a time from here on"), ends:
        losses += (step.loss for step in small.run())
    assert losses == pytest.approx([step.loss for step in whole.run()][: len(losses)], rel=1e-5)
    assert len(losses) == (3 if fits == 2 else 0)


@pytest.mark.parametrize(
    ("decay", "expected"),
    [("constant", [1, 1, 1]), ("linear", [1, 0.5, 0.1]), ("cosine", [1, 0.5, 0.0245]), ("cooldown", [1, 1, 0.5])],
)
def test_learning_rates(decay: str, expected: list[float]) -> None:
    settings = Optimisation(updates=100, learning_rate=1.0, decay=decay)
    assert [settings.learning_rate_at(update) for update in (0, 50, 90)] == pytest.approx(expected, abs=1e-3)
    warm = Optimisation(updates=100, learning_rate=1.0, warmup=4)
    assert [warm.learning_rate_at(update) for update in (0, 3, 4)] == pytest.approx([0.2, 0.8, 1.0])


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_gradient_checkpointing_trains_the_same_weights(tiny_base: DiTTransformer2DModel, dtype: str) -> None:
    plain, checkpointed = (training(tiny_base, dtype=dtype, updates=2) for _ in range(2))
    checkpointed.model.enable_gradient_checkpointing()
    assert [step.loss for step in checkpointed.run()] == [step.loss for step in plain.run()]
    for one, other in zip(plain.averaged.parameters(), checkpointed.averaged.parameters(), strict=True):
        assert torch.equal(one, other)

"""Fine-tunes through the sampler: a schedule is taught by what the dense base draws, and needs no data."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from builders import Call, nothing
from safetensors.torch import load_file

from flexsearch.config import parse_config
from flexsearch.diffusion.sampling import denoise, draw_with_gradients
from flexsearch.errors import UserError
from flexsearch.schedule import Candidate, DensitySchedule, Sampling
from flexsearch.schedule.gain import NO_GAIN
from flexsearch.trial.context import TrialContext, trial_context
from flexsearch.trial.contract import TrialOrder
from flexsearch.trial.life import run_trial
from flexsearch.trial.shared_files import teacher_outputs_digest, weights_digest
from flexsearch.trial.teacher_samples import SAMPLES_SEED, sample_training

TAUGHT = {
    "images": 12,
    "steps": [2, 3],
    "sampling": {"sampler_steps": 4, "solver": "ab2", "gain": {"stream": 0.9, "at": 3}},
}
FREE_OF_DATA: dict[str, Any] = {"data": {"name": "none"}, "objectives": {"quality": {"reference": "base"}}}


@pytest.fixture
def order(start: Call) -> TrialOrder:
    return start(teacher_samples=TAUGHT, **FREE_OF_DATA)


@pytest.fixture
def context(order: TrialOrder) -> TrialContext:
    return trial_context(order.run_dir)


def begun(context: TrialContext, order: TrialOrder) -> Any:
    model = context.start.clone()
    model.set_schedule(order.candidate.schedule)
    model.drop_unused_weights()
    return sample_training(model, context)


def test_samples_are_the_bases_own(context: TrialContext, order: TrialOrder) -> None:
    samples = load_file(context.shared.teacher_samples(context.settings))["samples"]
    assert samples.shape == (12, *context.inputs.base.model.shape.sample_size)
    dense = Candidate(
        schedule=DensitySchedule.all_dense(context.space.num_blocks),
        sampling=Sampling(steps=4, solver="ab2", gain=replace(NO_GAIN, stream=0.9, at=3)),
    )
    batch = begun(context, order).stream.at(0)
    drawn = denoise(
        context.inputs.base.model.eval(),
        context.inputs.base.scheduler,
        context.space.plan(dense),
        noise=batch.noise,
        condition=batch.condition,
        none=context.inputs.conditions.none(len(batch.noise)),
        settings=context.settings.sampling,
    )
    torch.testing.assert_close(drawn, samples[: len(drawn)])
    assert torch.equal(batch.clean, samples[: len(drawn)])


def test_batches_go_round(context: TrialContext, order: TrialOrder) -> None:
    stream = begun(context, order).stream
    whole = torch.cat([stream.at(update).clean for update in range(3)])
    assert torch.equal(whole, stream.samples(range(12)))
    assert torch.equal(stream.at(3).noise, stream.at(0).noise)
    assert torch.equal(stream.at(1, slice(1, 3)).noise, stream.at(1).noise[1:3])
    assert len({noise.sum().item() for update in range(3) for noise in stream.at(update).noise}) == 12


def test_gradients_reach_every_weight_and_samples_stay(context: TrialContext, order: TrialOrder) -> None:
    """Through every call of the sampler; what is drawn is what sampling draws, to the bit."""
    training = begun(context, order)
    model, batch = training.model, training.stream.at(0)
    plan = context.space.plan(replace(order.candidate, sampling=Sampling(steps=3)))
    given: dict[str, Any] = {
        "noise": batch.noise,
        "condition": batch.condition,
        "none": context.inputs.conditions.none(len(batch.noise)),
        "settings": context.settings.sampling,
    }
    drawn = draw_with_gradients(model, context.inputs.base.scheduler, plan, **given)
    assert torch.equal(drawn, denoise(model, context.inputs.base.scheduler, plan, **given))
    training.loss(1, batch).backward()
    missing = {name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None}
    pools = [block for block, role in enumerate(model.schedule.roles) if role == "pool"]  # all their weights are equal
    unread = [f"base.transformer_blocks.{block}.attn1.to_{part}" for block in pools for part in "qk"]
    assert missing == {f"{name}.{kind}" for name in unread for kind in ("weight", "bias")}


def test_training_brings_samples_nearer(start: Call) -> None:
    steps = {"updates": 30, "learning_rate": 3e-3}
    order = start(teacher_samples={**TAUGHT, "images": 4}, trial=steps, **FREE_OF_DATA)
    losses = [step.loss for step in begun(trial_context(order.run_dir), order).run()]
    assert sum(losses[-4:]) < 0.5 * sum(losses[:4])


def test_a_trial_needs_no_data_and_shares_its_weights(order: TrialOrder, context: TrialContext) -> None:
    assert context.inputs.data is None
    first = run_trial(order, nothing)
    assert first.state == "complete"
    assert [update for update, _ in first.curve] == [1, 2]
    sampling = Sampling(steps=2, gain=replace(NO_GAIN, stream=0.9, at=3))
    other = replace(order, number=4, candidate=replace(order.candidate, sampling=sampling))
    second = run_trial(other, nothing)
    assert second.reason == "it has the weights that trial 3 trained"
    assert second.curve == ()


def test_weights_are_known_by_what_taught_them(tiny_config: Call) -> None:
    plain = parse_config(tiny_config()).trial_settings
    taught = [
        parse_config(tiny_config(teacher_samples=one)).trial_settings
        for one in (TAUGHT, {**TAUGHT, "steps": [2]}, {**TAUGHT, "sampling": None})
    ]
    schedule = plain.search_space.build(next(iter(plain.search_space.choices()))).schedule
    digests = {weights_digest(one, schedule, seed=0, trains=True) for one in (plain, *taught)}
    assert len(digests) == 4
    assert teacher_outputs_digest(plain, seed=0) == teacher_outputs_digest(taught[0], seed=0)
    assert not taught[0].needs_teacher_outputs
    assert plain.needs_teacher_outputs
    assert SAMPLES_SEED not in range(2**30)


def test_a_warm_start_still_needs_data(tiny_config: Call) -> None:
    warm = {"updates": 2, "batch": 4}
    with pytest.raises(UserError, match=r"data\.name: must be a data set"):
        parse_config(tiny_config(teacher_samples=TAUGHT, warm_start=warm, **FREE_OF_DATA))
    assert parse_config(tiny_config(teacher_samples=TAUGHT, **FREE_OF_DATA)).needs_data is False


@pytest.mark.parametrize(
    ("taught", "space", "line"),
    [
        ({"sampling": {"solver": "ab2"}}, {}, r"teacher_samples\.sampling\.sampler_steps: is missing"),
        ({"sampling": {"sampler_steps": 2, "start": "mean"}}, {}, r"teacher_samples\.sampling\.start: must be one of"),
        ({"sampling": {"sampler_steps": 2, "solver": "x"}}, {}, r"teacher_samples\.sampling\.solver: must be one of"),
        ({"steps": []}, {}, r"teacher_samples\.steps"),
        (
            {"steps": [1]},
            {"start": "mean", "sampler_steps": 2},
            r"steps\..* must be at least 2 where start",
        ),
        ({"images": 0}, {}, r"teacher_samples\.images"),
    ],
)
def test_what_cannot_teach_is_refused(tiny_config: Call, taught: dict, space: dict, line: str) -> None:
    with pytest.raises(UserError, match=line):
        parse_config(tiny_config(teacher_samples={**TAUGHT, **taught}, space=space))

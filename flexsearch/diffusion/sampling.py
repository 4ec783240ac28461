"""The sampling loop, over diffusers' schedulers, with classifier-free guidance in one place.

Noise is drawn per image from (seed, index), so an image does not depend on the batch that it is made in, and two models
that are given one seed are compared on paired noise. Letters: B batch, C channels, F frames, H x W data.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, ParamSpec

import torch
from torch import Tensor

from flexsearch.data.conditions import Condition, Conditions
from flexsearch.device_memory import FittingRows
from flexsearch.diffusion.data_gaussian import started_output
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.diffusion.solvers import clock_of, solver_of
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.plan import Plan, Target, lower
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import TokenGrid
from flexsearch.schedule.step import Step
from flexsearch.seeds import item_seed

_Walk = ParamSpec("_Walk")


def target_of(model: FlexDiT, scheduler: Any, settings: SamplingSettings, *, grid: TokenGrid | None = None) -> Target:
    """Say what candidates are lowered for: a loaded model on `grid` (its own if None), its scheduler and guidance."""
    return Target(
        shape=model.shape if grid is None else replace(model.shape, grid=grid),
        clock=clock_of(scheduler, spacing=settings.spacing),
        is_guided=settings.is_guided(model.shape),
    )


def plan_of(model: FlexDiT, scheduler: Any, sampling: Sampling, settings: SamplingSettings) -> Plan:
    """Lower the model's own schedule with a sampling.

    Raises:
        UserError: there are more steps than the scheduler has timesteps.
    """
    candidate = Candidate(schedule=model.schedule, sampling=sampling)
    return lower(candidate, target_of(model, scheduler, settings))


def initial_noise(indices: Sequence[int], *, shape: Sequence[int], seed: int) -> Tensor:
    """(B, *shape) standard normal noise, one generator per image index."""
    rows = []
    for index in indices:
        generator = torch.Generator().manual_seed(item_seed(seed, index))
        rows.append(torch.randn(tuple(shape), generator=generator))
    return torch.stack(rows)


class _Run:
    """What a sampling loop carries from step to step: the text as the blocks read it, what full steps left, their
    outputs, and guidance's difference.

    Args:
        model: draws.
        scheduler: of the base.
        settings: guidance.
        condition: B rows.
        none: B rows of "no condition", for guidance.
        plan: of the run.
    """

    def __init__(
        self,
        model: FlexDiT,
        scheduler: Any,
        settings: SamplingSettings,
        condition: Condition,
        none: Condition,
        *,
        plan: Plan,
    ) -> None:
        self._model, self._scheduler, self._settings, self._plan = model, scheduler, settings, plan
        settings.check(plan.target.shape)
        if (embedded := settings.embedded_guidance(plan.target.shape)) is not None:
            device, num = next(iter(condition.values())).device, len(next(iter(condition.values())))
            condition = {**condition, "guidance": torch.full((num,), embedded, device=device)}
        self._conditions = {1: condition}
        if plan.target.is_guided:
            self._conditions[2] = {name: torch.cat([value, none[name]]) for name, value in condition.items()}
        text = model.read_text(**self._conditions[plan.text_rows]) if plan.text_rows else ()
        num = len(next(iter(condition.values())))  # rows with a condition come first
        self._texts = {rows: tuple(one.rows(rows * num) for one in text) for rows in self._conditions}
        self._left: list[tuple[Tensor, ...]] = []
        self._outputs: list[Tensor] = []
        self._difference: Tensor | None = None

    @property
    def left(self) -> tuple[Tensor, ...]:
        """What the last step left that left something."""
        return self._left[-1]

    def output(self, sample: Tensor, timestep: Tensor, step: Step) -> Tensor:
        """Give the guided output of a step, (B, out_channels, ...), from a model call or from earlier ones."""
        if step.graph.reuses == "output":
            return _extrapolated(self._outputs, step.theta)
        rows, num = step.graph.rows, len(sample)
        if not step.graph.calls_model:
            labels = self._conditions[rows]["class_labels"]
            repeated = torch.cat([sample] * rows) if rows > 1 else sample
            output = started_output(self._model, self._scheduler, repeated, labels, self._plan)
            return self._guided(output, step, channels=sample.shape[1])
        reused: tuple[Tensor, ...] = ()
        if step.graph.reuses is not None:
            own = [tuple(one[: rows * num] for one in left) for left in self._left]  # rows with a condition come first
            reused = tuple(_extrapolated(parts, step.theta) for parts in zip(*own, strict=True))
        found = self._model(
            torch.cat([sample] * rows) if rows > 1 else sample,
            timestep.expand(rows * num),
            graph=step.graph,
            reused=reused,
            text=self._texts[rows],
            **self._conditions[rows],
        )
        guided = self._guided(found.sample, step, channels=sample.shape[1])
        if step.graph.leaves is not None:
            self._left = [*self._left[-1:], found.left]
        if step.graph.reuses is None:
            self._outputs = [*self._outputs[-1:], guided]
        return guided

    def _guided(self, output: Tensor, step: Step, *, channels: int) -> Tensor:
        """Guide away from the output without a condition. Channels of a learned variance are left as they are."""
        scale = self._settings.guidance
        channels = self._settings.guidance_channels or channels
        if step.graph.rows == 2:
            given, free = output.chunk(2)
            self._difference = given[:, :channels] - free[:, :channels]
            if not step.is_guided:
                return given
            guided = free[:, :channels] + scale * self._difference
        elif self._plan.target.is_guided and step.is_guided:
            assert self._difference is not None, "the first guided step has two rows"
            given = output
            guided = given[:, :channels] + (scale - 1) * self._difference
        else:
            return output
        if self._settings.guidance_renorm:
            guided = _as_long_as(given[:, :channels], guided, patch=self._plan.target.shape.patch_size)
        return torch.cat([guided, given[:, channels:]], dim=1)


def _as_long_as(given: Tensor, guided: Tensor, *, patch: int) -> Tensor:
    """Rescale (B, C, ..., H, W) so that every token of `patch x patch` has the length that it has in `given`."""
    tokens, wanted = _by_token(guided, patch), _by_token(given, patch)
    own, other = (torch.linalg.vector_norm(one, dim=(1, -3, -1), keepdim=True) for one in (tokens, wanted))
    rescaled: Tensor = tokens * (other / own)
    return rescaled.flatten(-2).flatten(-3, -2)


def _by_token(output: Tensor, patch: int) -> Tensor:
    """(B, C, ..., h, p, w, p) of (B, C, ..., H, W)."""
    tokens: Tensor = output.unflatten(-1, (-1, patch)).unflatten(-3, (-1, patch))
    return tokens


def _extrapolated(values: Sequence[Tensor], theta: float) -> Tensor:
    """Follow the line through the last two values; theta 0 gives the last."""
    if theta == 0:
        return values[-1]
    return values[-1] + theta * (values[-1] - values[-2])


def walk_with_gradients(
    model: FlexDiT,
    scheduler: Any,
    plan: Plan,
    *,
    noise: Tensor,
    condition: Condition,
    none: Condition,
    settings: SamplingSettings,
    seed: int = 0,
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> Iterator[tuple[Tensor, tuple[Tensor, ...]]]:
    """Go through the steps of a plan, from noise to data: the sample after each, and what it left.

    Everything that the host decides (graphs, the scheduler's coefficients) is known before the first step, so that the
    loop never waits for the device. Gradients of samples reach the weights through every step.

    Args:
        model: in eval mode; its weights serve the plan.
        scheduler: a diffusers scheduler; only its configuration is used.
        plan: lowered for this model, scheduler and guidance.
        noise: (B, C, H, W), or (B, C, F, H, W) of videos, on the model's device.
        condition: B rows, on the model's device.
        none: B rows of "no condition", for guidance.
        settings: guidance and dtype.
        seed: of the noise that stochastic samplers add.
        progress: goes through the sampler steps and may show how far it is, e.g. diffusers' progress bar.

    Yields:
        float32 data in model units, shaped like `noise`, and what the step left for later ones.
    """
    solver = solver_of(scheduler, plan, seed=seed, device=noise.device)
    channels, sample = noise.shape[1], noise
    dtype = next(model.parameters(), noise).dtype
    precision = torch.autocast(noise.device.type, torch.bfloat16) if settings.dtype == "bf16" else nullcontext()
    with precision:
        run = _Run(model, scheduler, settings, condition, none, plan=plan)
    for index, step in enumerate(progress(plan.steps)):
        scaled, timestep = solver.scaled(sample, index), solver.timestep(index)
        with precision:
            output = run.output(scaled.to(dtype), timestep, step).float()
        if output.shape[1] > channels and not solver.reads_variance:
            output = output[:, :channels]
        sample = solver.step(output, index, sample)
        yield sample, run.left if step.graph.leaves is not None else ()


def _drawn_by(walked: Callable[_Walk, Iterator[tuple[Tensor, tuple[Tensor, ...]]]]) -> Callable[_Walk, Tensor]:
    def draw(*arguments: _Walk.args, **options: _Walk.kwargs) -> Tensor:
        for sample, _ in walked(*arguments, **options):  # noqa: B007 - the last is the result
            pass
        return sample

    return draw


draw_with_gradients = _drawn_by(walk_with_gradients)
"""Give the sample after the last step of `walk_with_gradients`, whose arguments it takes."""

walk = torch.inference_mode()(walk_with_gradients)
"""Go through the steps of a plan as `walk_with_gradients` does, without gradients."""

denoise = torch.inference_mode()(draw_with_gradients)
"""Turn noise into data, step by step of a plan, without gradients; arguments as of `walk_with_gradients`."""


def generate(
    model: FlexDiT,
    scheduler: Any,
    plan: Plan,
    *,
    conditions: Conditions,
    num_images: int,
    batch: int,
    seed: int,
    settings: SamplingSettings,
    rank: int = 0,
    num_processes: int = 1,
) -> Iterator[Tensor]:
    """Go through batches of data in model units, (b, C, H, W) or (b, C, F, H, W) each, on the model's device.

    Image i has the condition that `conditions` gives to index i. Of `num_processes` that draw together, this one draws
    the batches `rank`, `rank + num_processes`, and so on. A batch that the device's memory does not hold is drawn in
    parts; the noise that a stochastic sampler adds is then that of batches of this size.
    """
    device, fitting = model.device, FittingRows("drawing")
    for start in range(rank * batch, num_images, batch * num_processes):
        indices = range(start, min(start + batch, num_images))

        def drawn(rows: slice, indices: range = indices) -> Tensor:
            part = indices[rows]
            return denoise(
                model,
                scheduler,
                plan,
                noise=initial_noise(part, shape=model.shape.sample_size, seed=seed).to(device),
                condition=on(device, conditions.of_samples(part)),
                none=on(device, conditions.none(len(part))),
                settings=settings,
                seed=item_seed(seed, part.start),
            )

        parts = fitting(drawn, len(indices))
        yield parts[0] if len(parts) == 1 else torch.cat(parts)


def on(device: torch.device, condition: Condition) -> Condition:
    """The condition on a device."""
    return {name: value.to(device) for name, value in condition.items()}

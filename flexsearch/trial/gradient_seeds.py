"""Schedules that a search tries first: amounts of density, learned by gradient on the frozen weights of the warm start.

After DiffCR (`flexsearch.trial.learned_amounts`). The loss is the squared distance to the dense base's output, plus the
price of an image's time, as the device's latency profile composes it from operations; by MACs where there is none.
"""

import random
import warnings
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from flexsearch.diffusion.batches import Batch
from flexsearch.errors import Note
from flexsearch.files import read_json, write_json
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.plan import Plan
from flexsearch.schedule.sampling import Sampling
from flexsearch.space.domains import Value, corners
from flexsearch.trial.context import TrialContext
from flexsearch.trial.learned_amounts import Parameters, axes_of, sweep
from flexsearch.trial.profiles import load_profile
from flexsearch.trial.teacher import live_teacher

BATCHES = 8


class WarmLoss:
    """The distance of a schedule's output to the dense base's, on the trials' first batches, with the warm start's
    weights; each schedule is computed once."""

    def __init__(self, context: TrialContext, *, seed: int) -> None:
        self._model: FlexDiT = context.start.view().eval()
        self._process, self._is_half = context.inputs.process, context.settings.trial.dtype == "bf16"
        self._stream, self._device = context.stream(seed), context.inputs.device
        self._teach = live_teacher(context.inputs.base.model)
        self._known: dict[str, float] = {}

    @cached_property
    def _lessons(self) -> list[tuple[Batch, Tensor, Tensor, Tensor]]:
        """Batches, noisy and at which times of the model, and the dense base's outputs."""
        found = []
        for update in range(BATCHES):
            batch = self._stream.at(update).to(self._device)
            noisy = self._process.noisy(batch.clean, batch.noise, batch.time)
            model_time = self._process.model_time(batch.time)
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._is_half):
                found.append((batch, noisy, model_time, self._teach(update, batch, noisy, model_time).float()))
        return found

    def of(self, schedule: DensitySchedule) -> float:
        """Mean squared distance."""
        if schedule.digest not in self._known:
            self._model.set_schedule(schedule)
            losses = [self._loss(*lesson) for lesson in self._lessons]
            self._known[schedule.digest] = float(torch.stack(losses).mean())
        return self._known[schedule.digest]

    @torch.no_grad()
    def _loss(self, batch: Batch, noisy: Tensor, model_time: Tensor, target: Tensor) -> Tensor:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._is_half):
            output: Tensor = self._model(noisy, model_time, **batch.condition).sample
        return (output.float() - target).square().mean()


class Times:
    """The time of an image of a schedule, at the most steps of the space and all in full, as a share of the dense
    base's."""

    def __init__(self, context: TrialContext) -> None:
        self._space = context.space
        self._profile = load_profile(context.settings)
        self._dense = self._plan(DensitySchedule.all_dense(self._space.num_blocks))
        self._known: dict[str, float] = {}
        if self._profile is None:
            warnings.warn(
                "no latency profile of this device: gradient seeds go by MACs; flexsearch profile makes one",
                Note,
                stacklevel=2,
            )

    def _plan(self, schedule: DensitySchedule) -> Plan:
        return self._space.plan(Candidate(schedule=schedule, sampling=Sampling(steps=max(self._space.steps))))

    def of(self, schedule: DensitySchedule) -> float:
        """Give the share."""
        if schedule.digest not in self._known:
            self._known[schedule.digest] = self._share(self._plan(schedule))
        return self._known[schedule.digest]

    def _share(self, plan: Plan) -> float:
        """By the profile of this device; by MACs where it does not tell."""
        profile = self._profile
        if profile is not None and profile.covers(plan) and profile.covers(self._dense):
            return profile.predict(plan) / profile.predict(self._dense)
        return plan.macs / self._dense.macs


def make_seeds(path: Path, context: TrialContext, *, seed: int, report: Callable[[int, int], None]) -> None:
    """Leave the schedules that the prices of time give in `path`, densest first.

    Args:
        path: JSON file.
        context: of the run, whose warm start is there.
        seed: of the study.
        report: called with (updates done, in total).
    """
    space, axes = context.space, axes_of(context.space)
    losses, times = WarmLoss(context, seed=seed), Times(context)
    constant: dict[str, Value] = {name: corners(domain)[0] for name, domain in space.schedule_domains.items()}
    constant |= {name: False for name, _ in space.layout.domains}

    def schedule_of(parameters: Parameters) -> DensitySchedule:
        return space.build({**others, **constant, **parameters}).schedule

    others = space.sample(random.Random(seed))  # a schedule does not depend on them
    with context.device_lock.shared():
        learned = sweep(
            axes,
            loss=lambda parameters: losses.of(schedule_of(parameters)),
            time=lambda parameters: times.of(schedule_of(parameters)),
            seed=seed,
            report=report,
        )
    schedules = {one.price: schedule_of(one.parameters) for one in learned}
    first = {schedules[one.price].digest: one for one in reversed(learned) if not schedules[one.price].is_dense}
    rows = [
        {**asdict(one), "schedule": str(schedules[one.price]), "parameters": {**constant, **one.parameters}}
        for one in sorted(first.values(), key=lambda one: -one.time)
    ]
    write_json(path, {"seeds": rows})


def load_seeds(path: Path) -> list[Parameters]:
    """Read the parameters of schedules that `make_seeds` left."""
    return [row["parameters"] for row in read_json(path)["seeds"]]

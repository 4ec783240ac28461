"""Everything that decides what a trial finds. The driver writes it to the run directory; workers read it there."""

import json
from collections.abc import Mapping
from dataclasses import field, fields, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from flexsearch.data.settings import DataSettings
from flexsearch.diffusion.optimisation import FineTune
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.diffusion.teacher_samples import TeacherSamples
from flexsearch.errors import UserError
from flexsearch.files import write_atomically
from flexsearch.models.settings import BaseSettings, base_clock, base_shape
from flexsearch.objectives.settings import BASE, ObjectiveSettings
from flexsearch.old_names import as_it_was_written
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.converged import converged
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.plan import Target
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import TransformerShape
from flexsearch.settings import settings
from flexsearch.space.parsing import read_fields, space_of
from flexsearch.space.search_space import SearchSpace
from flexsearch.trial.early_stopping import EarlyStopping

_FILE = "trial.json"
_LEAST_REFERENCE_STEPS = 20


@settings
class InputSettings:
    """Say what is trained and measured, on what, and how.

    Attributes:
        base: the dense base.
        data: what is trained on, or only what images are drawn of; none is needed where nothing is trained and the
            base reads class labels.
        objectives: what is measured.
        sampling: how images are drawn.
    """

    base: BaseSettings
    data: DataSettings = field(default_factory=DataSettings)
    objectives: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)

    @property
    def inputs(self) -> "InputSettings":
        """These four parts alone."""
        return InputSettings(**{spec.name: getattr(self, spec.name) for spec in fields(InputSettings)})


@settings
class TrialSettings(InputSettings):
    """The parts of a configuration that a trial reads.

    Attributes:
        space: the search space as written in YAML.
        warm_start: the shared fine-tune that trials start from, of all schedules; None starts them from the base.
        trial: each trial's own fine-tune.
        teacher_samples: what a trial's schedule is taught by in place of data; None denoises data.
        early_stopping: where trials are compared on their way; None trains every trial to the end.
    """

    space: Mapping[str, Any]
    warm_start: FineTune | None = None
    trial: FineTune = field(default_factory=lambda: FineTune(updates=1000))
    teacher_samples: TeacherSamples | None = None
    early_stopping: EarlyStopping | None = None

    @property
    def inputs(self) -> InputSettings:
        """The four parts alone; where the base draws the reference, they say in how many steps."""
        quality = self.objectives.quality
        if quality.reference != BASE and not quality.compares_pairs:
            return super().inputs
        quality = replace(quality, reference_steps=self.reference_steps)
        return replace(super().inputs, objectives=replace(self.objectives, quality=quality))

    @property
    def reference_steps(self) -> int:
        """Sampler steps of what the base draws as a reference."""
        clock = self.search_space.target.clock
        enough = max(2 * max(self.search_space.steps), _LEAST_REFERENCE_STEPS)
        return self.objectives.quality.reference_steps or min(enough, clock.num_train_timesteps)

    @cached_property
    def is_free(self) -> bool:
        """Whether nothing is ever trained: no updates, or no schedule but the dense base's."""
        trains = self.trial.updates > 0 or self.warm_start is not None
        return not trains or self.search_space.is_dense

    @property
    def needs_data(self) -> bool:
        """Whether something is trained on a data set."""
        return not self.is_free and (self.teacher_samples is None or self.warm_start is not None)

    @property
    def needs_teacher_outputs(self) -> bool:
        """Whether trials are taught by the dense base's outputs on noisy data."""
        return bool(
            self.trial.distillation and self.trial.updates and not self.is_free and self.teacher_samples is None
        )

    @property
    def teacher_sampling(self) -> Sampling:
        """How the base draws the samples that trials are taught by.

        Raises:
            UserError: what `teacher_samples.sampling` names is none.
        """
        assert self.teacher_samples is not None
        try:
            return self.teacher_samples.taught_by(converged(self.reference_steps))
        except UserError as error:
            raise error.under("teacher_samples") from None

    @property
    def taught_samplings(self) -> tuple[Sampling, ...]:
        """How a schedule draws while it is taught by samples: by the first solver and the first start of the space,
        without reuse and gain, so that all candidates of a schedule share its weights."""
        assert self.teacher_samples is not None
        of = self.search_space.sampling.values_of
        solver, start = (of("solver") or ("base",))[0], (of("start") or ("model",))[0]
        return self.teacher_samples.drawn_in(solver=solver, start=start)

    def check_teacher_samples(self) -> None:
        """Check that the base can draw what trials are taught by, and schedules what they are compared by.

        Raises:
            UserError: they cannot.
        """
        if self.teacher_samples is None:
            return
        space, sampling = self.search_space, self.teacher_sampling
        if sampling.start != "model" and sampling.start not in space.starts:
            known = ["model", *sorted(space.starts)]
            raise UserError(
                f"must be one of {known}, as the space's, but got {sampling.start!r}",
                field="teacher_samples.sampling.start",
                nearest="model",
            )
        dense = DensitySchedule.all_dense(space.num_blocks)
        for name, one in [("sampling", sampling), *(("steps", one) for one in self.taught_samplings)]:
            try:
                space.plan(Candidate(schedule=dense, sampling=one))
            except UserError as error:
                raise error.under(f"teacher_samples.{name}") from None

    @property
    def shape(self) -> TransformerShape:
        """The base's sizes."""
        return base_shape(self.base)

    @cached_property
    def search_space(self) -> SearchSpace:
        """The space, checked."""
        written = read_fields(self.space)  # before the base is looked for
        clock = base_clock(self.base, spacing=self.sampling.spacing)
        target = Target(shape=self.shape, clock=clock, is_guided=self.sampling.is_guided(self.shape))
        return space_of(written, target=target)

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values, defaults included."""
        values: dict[str, Any] = TypeAdapter(TrialSettings).dump_python(self, mode="json")
        return values

    def save(self, run_dir: Path) -> None:
        """Write what the workers of a run read."""
        write_atomically(run_dir / _FILE, json.dumps(self.to_dict(), indent=2))


@cache
def load_settings(run_dir: Path) -> TrialSettings:
    """Read the settings that the driver wrote."""
    return TypeAdapter(TrialSettings).validate_python(
        as_it_was_written(json.loads((run_dir / _FILE).read_text(encoding="utf-8")))
    )

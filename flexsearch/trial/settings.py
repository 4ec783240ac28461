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
from flexsearch.files import write_atomically
from flexsearch.models.settings import BaseSettings, base_clock, base_shape
from flexsearch.objectives.settings import BASE, ObjectiveSettings
from flexsearch.old_names import as_it_was_written
from flexsearch.schedule.plan import Target
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
        warm_start: the shared elastic fine-tune that trials start from; None starts them from the base.
        trial: each trial's own fine-tune.
        early_stopping: where trials are compared on their way; None trains every trial to the end.
    """

    space: Mapping[str, Any]
    warm_start: FineTune | None = None
    trial: FineTune = field(default_factory=lambda: FineTune(updates=1000))
    early_stopping: EarlyStopping | None = None

    @property
    def inputs(self) -> InputSettings:
        """The four parts alone; where the base draws the reference, they say in how many steps."""
        quality = self.objectives.quality
        if quality.reference != BASE:
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
    return TypeAdapter(TrialSettings).validate_python(as_it_was_written(json.loads((run_dir / _FILE).read_text())))

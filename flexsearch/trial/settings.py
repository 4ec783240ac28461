"""Everything that decides what a trial finds. The driver writes it to the run directory; workers read it there."""

import json
from collections.abc import Mapping
from dataclasses import field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from flexsearch.data.settings import DataSettings
from flexsearch.diffusion.optimisation import FineTune
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.files import write_atomically
from flexsearch.models.settings import BaseSettings, base_shape
from flexsearch.objectives.settings import ObjectiveSettings
from flexsearch.schedule.macs import TransformerShape
from flexsearch.settings import settings
from flexsearch.space.search_space import SearchSpace, parse_space
from flexsearch.trial.rungs import EarlyStopping

_FILE = "trial.json"


@settings
class TrialSettings:
    """The parts of a configuration that a trial reads.

    Attributes:
        base: the dense base.
        data: what trials are fine-tuned on.
        space: the search space as written in YAML.
        objectives: what is measured.
        sampling: how images are drawn.
        warm_start: the shared elastic fine-tune that trials start from; None starts them from the base.
        trial: each trial's own fine-tune.
        early_stopping: where trials are compared on their way; None trains every trial to the end.
    """

    base: BaseSettings
    data: DataSettings
    space: Mapping[str, Any]
    objectives: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    warm_start: FineTune | None = None
    trial: FineTune = field(default_factory=lambda: FineTune(updates=1000))
    early_stopping: EarlyStopping | None = None

    @property
    def shape(self) -> TransformerShape:
        """The base's sizes."""
        return base_shape(self.base)

    @property
    def search_space(self) -> SearchSpace:
        """The space, checked."""
        shape = self.shape
        return parse_space(self.space, num_blocks=shape.num_blocks, grid=shape.grid)

    def to_dict(self) -> dict[str, Any]:
        """JSON values, defaults included."""
        values: dict[str, Any] = TypeAdapter(TrialSettings).dump_python(self, mode="json")
        return values

    def save(self, run_dir: Path) -> None:
        """Writes what the workers of a run read."""
        write_atomically(run_dir / _FILE, json.dumps(self.to_dict(), indent=2))


@cache
def load_settings(run_dir: Path) -> TrialSettings:
    """The settings that the driver wrote."""
    return TypeAdapter(TrialSettings).validate_python(json.loads((run_dir / _FILE).read_text()))

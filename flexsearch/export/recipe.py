"""The training recipe: `recipe.yaml` of an exported model. Its defaults are the paper's (arXiv 2412.06028, section 4),
but for `loss_weighting`, which recipes of earlier versions lack.

Paths mean what they do in a search space: those of data, references and checkpoints are relative to where the user
stands. Only `start` is relative to the recipe, so that an exported folder can be moved.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge, Gt, Le
from pydantic import TypeAdapter

from flexsearch.diffusion.optimisation import Optimisation
from flexsearch.diffusion.teacher_samples import TeacherSamples
from flexsearch.errors import UserError, reason_of
from flexsearch.models.settings import base_shape
from flexsearch.old_names import as_it_was_written
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.fields import declared
from flexsearch.schedule.gain import Gain
from flexsearch.schedule.sampling import Sampling
from flexsearch.settings import Count, PositiveCount, settings
from flexsearch.settings_file import checked, read_values
from flexsearch.tracking import TrackerName
from flexsearch.trial.settings import InputSettings

RECIPE = "recipe.yaml"
BASE = "base"
_CANDIDATE = ("segments", "timetable", *(one.key for one in declared(Sampling)))

CHANGES_NO_RESULT = frozenset(
    {
        "training.gradient_accumulation",
        "training.gradient_checkpointing",
        "training.save_every",
        "training.evaluate_every",
        "training.log",
    }
)
"""Fields that may differ between a run and its resumption: gradients stay the same up to rounding."""


@settings
class LongTraining(Optimisation):
    """The long fine-tune of a schedule.

    Attributes:
        seed: of order, times, noise and label dropout.
        label_dropout: fraction of conditions replaced by "no condition".
        loss_weighting: "none" weighs all diffusion times alike; "min_snr" by Min-SNR-5, as the paper's authors train.
            Recipes of earlier versions have none; `flexsearch export` writes "min_snr" for bases that predict noise,
            such as the paper's.
        gradient_accumulation: equal parts in which each process computes its share of a batch.
        gradient_checkpointing: compute each block again on the way back rather than keep what it left: less memory, a
            third more work.
        save_every: updates between two checkpoints; what a crash can lose.
        evaluate_every: updates between two measurements of quality, of which one comes before the first update and one
            after the last; None measures nothing.
        log: also send loss, speed and quality to "tensorboard" (`OUT/logs`), "wandb" or "mlflow".
    """

    updates: Count = 400_000
    batch: PositiveCount = 256
    max_gradient_norm: Annotated[float, Gt(0)] | None = None
    seed: int = 0
    label_dropout: Annotated[float, Ge(0), Le(1)] = 0.1
    loss_weighting: Literal["none", "min_snr"] = "none"
    gradient_accumulation: PositiveCount = 1
    gradient_checkpointing: bool = False
    save_every: PositiveCount = 1000
    evaluate_every: PositiveCount | None = 20_000
    log: TrackerName = "none"


@settings
class Recipe(InputSettings):
    """A whole recipe.

    Attributes:
        candidate: the density schedule and its sampling.
        start: where training begins: a folder of weights, relative to the recipe, or "base", the dense base.
        folded: the part of the candidate's gain that the weights in `start` carry. Training begins without it.
        training: how weights are updated.
        teacher_samples: what the schedule is taught by in place of data, drawn as it is needed, each once; of
            `training` neither `distillation` nor `loss_weighting` may be set then, and no condition is dropped.
        evaluation_seed: of the sampling noise of every measurement; the study's, so that values compare with its own.
        found_by: the study and trial that found the schedule.
        trained: updates done before, of a model that was already trained.
    """

    candidate: Mapping[str, Any]
    start: str = "transformer"
    folded: Gain | None = None
    training: LongTraining = field(default_factory=LongTraining)
    teacher_samples: TeacherSamples | None = None
    evaluation_seed: int = 0
    found_by: Mapping[str, Any] | None = None
    trained: Count = 0

    @property
    def chosen(self) -> Candidate:
        """The candidate.

        Raises:
            UserError: it is no schedule, or does not fit the base; or the base's sizes are not known.
        """
        shape = base_shape(self.base)
        for name in self.candidate:
            if name not in _CANDIDATE:
                close = difflib.get_close_matches(name, _CANDIDATE, n=1)
                raise UserError("is not a known field", field=f"candidate.{name}", nearest=close[0] if close else None)
        try:
            found = Candidate.from_dict(self.candidate)
            found.schedule.routes(shape.grid, num_blocks=shape.num_blocks)
        except UserError as error:
            raise error.under("candidate") from None
        except Exception as error:  # of any value that YAML can hold
            raise UserError(f"is not a schedule with sampler_steps ({reason_of(error)})", field="candidate") from None
        return found

    @property
    def exported(self) -> Candidate:
        """The candidate that the weights in `start` are run with: without the gain that they carry."""
        chosen = self.chosen
        if self.folded is None:
            return chosen
        left = chosen.sampling.gain.without(self.folded)
        return replace(chosen, sampling=replace(chosen.sampling, gain=left))

    def to_dict(self) -> dict[str, Any]:
        """Give the recipe as JSON values."""
        values: dict[str, Any] = TypeAdapter(Recipe).dump_python(self, mode="json")
        return values

    def to_yaml(self) -> str:
        """Write the recipe as text, which `load_recipe` reads."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, apply `key=value` overrides, and check everything.

    Args:
        path: the file, or the exported folder that holds it.
        overrides: such as "training.updates=1000".

    Raises:
        UserError: the file or a field is wrong; names it, the rule and the value.
    """
    values = read_values(path / RECIPE if path.is_dir() else path, overrides)
    recipe = checked(Recipe, as_it_was_written(values) if values.get("found_by") else values)
    _ = recipe.chosen
    return recipe


def first_difference(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> str | None:
    """Give the dotted name of the first field in which two recipes would train differently; None where none does."""
    for key in [*one, *(key for key in other if key not in one)]:
        name, here, there = prefix + str(key), one.get(key), other.get(key)
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            found = first_difference(here, there, f"{name}.")
            if found is not None:
                return found
        elif here != there and name not in CHANGES_NO_RESULT:
            return name
    return None

"""How a candidate samples: everything beside the schedule that decides what is computed for one image.

An axis of sampling is a field here; `flexsearch.schedule.plan.lower` says what it does to the steps of a plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flexsearch.schedule.fields import REQUIRED, check_fields, declared
from flexsearch.settings import PositiveCount


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The choices of sampling.

    Attributes:
        steps: sampler steps.
    """

    steps: PositiveCount = field(metadata={"key": "sampler_steps"})

    def __post_init__(self) -> None:
        check_fields(self)

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values, defaults left out, so that a candidate of an older version keeps its digest."""
        return {
            one.key: getattr(self, one.name) for one in declared(Sampling) if getattr(self, one.name) != one.default
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Sampling":
        """Read JSON values; keys of others are left alone.

        Raises:
            UserError: a value is out of range; names the field.
            KeyError: the steps are missing.
        """
        wanted = [one for one in declared(cls) if one.key in values or one.default is REQUIRED]
        return cls(**{one.name: values[one.key] for one in wanted})

    def __str__(self) -> str:
        return f"x{self.steps}"

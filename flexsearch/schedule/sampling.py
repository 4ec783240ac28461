"""How a candidate samples: everything beside the schedule that decides what is computed for one image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flexsearch.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The choices of sampling.

    Attributes:
        steps: sampler steps, at least 1.
    """

    steps: int

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int):
            raise UserError(f"must be a whole number, but got {self.steps!r}", field="sampler_steps")
        if self.steps < 1:
            raise UserError(f"must be at least 1, but got {self.steps}", field="sampler_steps", nearest=1)

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values, defaults left out, so that an older candidate keeps its digest; `from_dict` reads them."""
        return {"sampler_steps": self.steps}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Sampling":
        """Read JSON values.

        Raises:
            UserError: a value is out of range; names the field.
            KeyError: the steps are missing.
        """
        return cls(steps=values["sampler_steps"])

    def __str__(self) -> str:
        return f"x{self.steps}"

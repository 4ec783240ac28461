"""Say how a part of the configuration is declared: a frozen dataclass whose fields are the YAML keys, and no others.

Each lies beside the code that reads it, with its defaults. `flexsearch.config` validates them.
"""

from dataclasses import dataclass
from typing import Annotated, TypeVar, dataclass_transform

from annotated_types import Ge, Le

T = TypeVar("T")

LARGEST = 2**63 - 1
"""Of whole numbers, seeds among them: what databases and random generators take."""

Count = Annotated[int, Ge(0), Le(LARGEST)]
PositiveCount = Annotated[int, Ge(1), Le(LARGEST)]
ListedCount = Annotated[int, Ge(1), Le(10_000)]
"""Of what is listed one by one, such as sampler steps."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
def settings(cls: type[T]) -> type[T]:
    """Makes `cls` a frozen, keyword-only dataclass that refuses unknown keys."""
    cls.__pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True)(cls)

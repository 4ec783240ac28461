"""The family `dense`: the base's own blocks, unchanged."""

from dataclasses import dataclass
from typing import ClassVar

from flexsearch.schedule.cost import block_macs
from flexsearch.schedule.families.segment import Segment, register_family
from flexsearch.schedule.role import Role, register_role
from flexsearch.settings import Count

DENSE = register_role(Role(name="dense", letter="D", colour="#24456b", macs=block_macs))


@register_family
@dataclass(frozen=True, kw_only=True)
class Dense(Segment):
    """`depth` blocks of the base."""

    family: ClassVar[str] = "dense"
    depth: Count

    @property
    def roles(self) -> tuple[str, ...]:
        return (DENSE.name,) * self.depth

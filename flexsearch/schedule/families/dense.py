"""The family `dense`: the base's own blocks, unchanged."""

from dataclasses import dataclass
from typing import ClassVar

from flexsearch.schedule.cost import block_macs
from flexsearch.schedule.families.segment import Segment, register_family
from flexsearch.schedule.role import Role, register_role
from flexsearch.schedule.width import FULL_WIDTH, Width
from flexsearch.settings import Count

DENSE = register_role(Role(name="dense", letter="D", colour="#24456b", macs=block_macs))


@register_family
@dataclass(frozen=True, kw_only=True)
class Dense(Segment):
    """`depth` blocks of the base, or some of their heads and hidden channels."""

    family: ClassVar[str] = "dense"
    depth: Count
    width: Width = FULL_WIDTH

    @property
    def roles(self) -> tuple[str, ...]:
        return (DENSE.name,) * self.depth

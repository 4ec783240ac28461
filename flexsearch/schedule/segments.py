"""Segments: runs of blocks, bottom to top, and the role that each block plays.

Source: FlexDiT (arXiv 2412.06028), section 3.2 and figure 2. A new density family is a new segment here, plus the
operations that it lowers to. Roles: `pool`, `merge` (the paper's sparse token generation), `sparse`, `recover` (dense
token recovery), `dense`.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from flexsearch.errors import UserError

Role = Literal["dense", "pool", "merge", "sparse", "recover"]


class Segment(Protocol):
    """A run of blocks. `family` is its name in YAML; its dataclass fields are what a space can search."""

    family: ClassVar[str]

    @property
    def roles(self) -> tuple[Role, ...]:
        """One role per block, bottom to top."""


def _runs(*runs: tuple[Role, int]) -> tuple[Role, ...]:
    return tuple(role for role, depth in runs for _ in range(depth))


def _at_least(segment: object, **least: int) -> None:
    for name, low in least.items():
        value = getattr(segment, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise UserError(f"must be a whole number of at least {low}, but got {value!r}", field=name, nearest=low)


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """Poolingformer blocks: attention with uniform weights, on all tokens."""

    family: ClassVar[str] = "pooling"
    depth: int

    def __post_init__(self) -> None:
        _at_least(self, depth=0)

    @property
    def roles(self) -> tuple[Role, ...]:
        return _runs(("pool", self.depth))


@dataclass(frozen=True, kw_only=True)
class Dense:
    """The base's own blocks, unchanged."""

    family: ClassVar[str] = "dense"
    depth: int

    def __post_init__(self) -> None:
        _at_least(self, depth=0)

    @property
    def roles(self) -> tuple[Role, ...]:
        return _runs(("dense", self.depth))


@dataclass(frozen=True, kw_only=True)
class Sdtm:
    """One sparse-dense token module: `merge` blocks make sparse tokens, `sparse` blocks run on them, one block
    recovers the dense tokens, `dense` blocks refine them. The paper's `[g0, g1, 1, g3]`."""

    family: ClassVar[str] = "sdtm"
    merge: int = 1
    sparse: int
    dense: int = 1

    def __post_init__(self) -> None:
        _at_least(self, merge=1, sparse=0, dense=0)

    @property
    def roles(self) -> tuple[Role, ...]:
        return _runs(("merge", self.merge), ("sparse", self.sparse), ("recover", 1), ("dense", self.dense))


FAMILIES: dict[str, type[Pooling] | type[Dense] | type[Sdtm]] = {kind.family: kind for kind in (Pooling, Sdtm, Dense)}

"""Segments: runs of blocks, bottom to top, and the role that each block plays.

Source: FlexDiT (arXiv 2412.06028), section 3.2 and figure 2. Roles: `pool`, `merge` (the paper's sparse token
generation), `sparse`, `recover` (dense token recovery), `dense`. A new density family is a new segment, and the roles
that it brings (`flexsearch.schedule.roles`).
"""

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import ClassVar, Protocol, TypeVar

from flexsearch.errors import UserError
from flexsearch.schedule.roles import Role


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
        """One role per block, bottom to top."""
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
        """One role per block, bottom to top."""
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
        """One role per block, bottom to top."""
        return _runs(("merge", self.merge), ("sparse", self.sparse), ("recover", 1), ("dense", self.dense))


FAMILIES: dict[str, type[Segment]] = {kind.family: kind for kind in (Pooling, Sdtm, Dense)}
ENTRY_POINTS = "flexsearch.families"
"""Group of entry points by which an installed package brings families: name of the family, module that registers it."""

Family = TypeVar("Family", bound=type[Segment])


def register_family(family: Family) -> Family:
    """Makes a family known, for YAML and for reading saved schedules. A class decorator.

    Its dataclass fields are whole numbers; one of them may be `depth`, which a space may leave as `rest`.
    """
    FAMILIES[family.family] = family
    return family


def family_named(name: object, *, field: str) -> type[Segment]:
    """The segment class of a family; one that is not known yet is looked for in installed packages.

    Raises:
        UserError: there is none.
    """
    if isinstance(name, str) and name not in FAMILIES:
        for entry in entry_points(group=ENTRY_POINTS, name=name):
            entry.load()
    if not isinstance(name, str) or name not in FAMILIES:
        raise UserError(f"must be one of {sorted(FAMILIES)}, but got {name!r}", field=field)
    return FAMILIES[name]

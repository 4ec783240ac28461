"""Say what every family is: a run of blocks with fields that a search space can search."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, ClassVar, Self, TypeVar

from flexsearch.errors import UserError
from flexsearch.schedule.fields import check_fields, declared, is_part
from flexsearch.schedule.role import ROLES, Amounts
from flexsearch.schedule.timetable import NO_GRID, OwnGrid
from flexsearch.schedule.width import FULL_WIDTH, Width


@dataclass(frozen=True, kw_only=True)
class Segment(ABC):
    """A run of blocks, bottom to top. A family is a frozen dataclass that inherits it.

    Its fields are declared with their types (`Annotated[int, Ge(0)]`, `float`, `Literal[...]`), which are what a
    search space may search and what is checked, here and there.

    Attributes:
        family: its name in YAML.
        rest: the field, a number of blocks, that a space may leave as `rest`; None if there is none.
        needs_grid: whether its roles work on sparse tokens, so that a space needs a timetable.
        optional: fields that are left out of JSON where they have their defaults, as earlier versions did without them.
    """

    family: ClassVar[str]
    rest: ClassVar[str | None] = "depth"
    needs_grid: ClassVar[bool] = False
    optional: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    @abstractmethod
    def roles(self) -> tuple[str, ...]:
        """One role per block, bottom to top."""

    def amounts(self, stage: int, num_stages: int) -> tuple[Amounts, ...]:
        """Tell how much of each block is computed in a stage, from 0 near the data.

        By default what the field `width` says, which a family declares (`width: Width = FULL_WIDTH`) if its roles can
        compute some heads and hidden channels of a block; without it the whole of every block.
        """
        width: Width = getattr(self, "width", FULL_WIDTH)
        return (width.amounts(stage, num_stages),) * len(self.roles)

    @property
    def is_whole(self) -> bool:
        """Whether it is known, without asking for amounts, that the whole of every block is computed."""
        return type(self).amounts is Segment.amounts and getattr(self, "width", FULL_WIDTH) == FULL_WIDTH

    @property
    def own_grid(self) -> OwnGrid:
        """The sparse grid of its own, which a family may declare (`grid: OwnGrid = NO_GRID`) if its roles work on
        sparse tokens; by default, and without such tokens, the timetable's."""
        own: OwnGrid = getattr(self, "grid", NO_GRID)
        return own if own != NO_GRID and self.uses_sparse_tokens else NO_GRID

    @property
    def uses_sparse_tokens(self) -> bool:
        """Whether any of its blocks works on sparse tokens."""
        return any(ROLES[role].uses_sparse_tokens for role in self.roles)

    def without_grid(self) -> Self:
        """The segment on the timetable's grids."""
        changes: dict[str, Any] = {"grid": NO_GRID} if self.own_grid != NO_GRID else {}
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values; `from_dict` is the inverse. Of mappings inside it, and of `optional`, what is not the
        default."""
        values: dict[str, Any] = {"family": self.family}
        for one in declared(type(self)):
            value = getattr(self, one.name)
            if not is_part(one.annotation):
                if one.name not in self.optional or value != one.default:
                    values[one.name] = value
            elif value != one.default:
                values[one.name] = {
                    name: each for name, each in vars(value).items() if each != getattr(one.default, name)
                }
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a segment from JSON values.

        Raises:
            UserError: a value is out of range; names the field.
            TypeError: a field is unknown or missing.
        """
        parts = {one.name: one.annotation for one in declared(cls) if is_part(one.annotation)}
        given = {key: value for key, value in values.items() if key != "family"}
        for name, kind in parts.items():
            if isinstance(given.get(name), Mapping):
                try:
                    given[name] = kind(**given[name])
                except UserError as error:
                    raise error.under(name) from None
        return cls(**given)

    @classmethod
    def designs(cls, num_blocks: int) -> "list[tuple[Segment, ...]]":
        """Layouts of a model that hold as much of one role as can be, from which a profile tells its roles' times.

        By default one layout, all of this family, for a family of one field `depth`.
        """
        fields: dict[str, Any] = {"depth": num_blocks}
        return [(cls(**fields),)]

    @classmethod
    def further_designs(
        cls,
        num_blocks: int,  # noqa: ARG003 - for families
        roles: Collection[str],  # noqa: ARG003
    ) -> "list[tuple[Segment, ...]]":
        """Layouts for those of the wanted roles that `designs` does not hold; by default none."""
        return []


_FAMILIES: dict[str, type[Segment]] = {}
FAMILIES: Mapping[str, type[Segment]] = MappingProxyType(_FAMILIES)
"""Every known family by name."""

ENTRY_POINTS = "flexsearch.families"
"""Group of entry points by which an installed package brings families: name of the family, module that registers it."""

Family = TypeVar("Family", bound=type[Segment])


def register_family(family: Family) -> Family:
    """Make a family known, for YAML and for reading saved schedules. A class decorator."""
    _FAMILIES[family.family] = family
    return family


def family_named(name: object, *, field: str) -> type[Segment]:
    """Give the segment class of a family; look for one that is not known yet in installed packages.

    Raises:
        UserError: there is none.
    """
    if isinstance(name, str) and name not in FAMILIES:
        for entry in entry_points(group=ENTRY_POINTS, name=name):
            entry.load()
    if not isinstance(name, str) or name not in FAMILIES:
        raise UserError(f"must be one of {sorted(FAMILIES)}, but got {name!r}", field=field)
    return FAMILIES[name]

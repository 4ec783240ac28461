"""Say what a block can be: its operation, and the registry of roles. The one place through which a role is known.

A role reads tokens of one density and leaves tokens of one density; between a role that leaves sparse tokens and the
one that makes them dense again, the dense tokens wait. Families declare their roles (`flexsearch.schedule.families`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Literal

from flexsearch.errors import UserError
from flexsearch.schedule.pickling import PickledWithoutHash
from flexsearch.schedule.shape import TokenGrid, TransformerShape

Amounts = tuple[tuple[str, int], ...]
"""How much of a block is computed, by name and sorted, e.g. (("heads", 6), ("hidden", 4)) in eighths; () is all."""

OperationKey = tuple[str, TokenGrid, TokenGrid, Amounts]
Density = Literal["dense", "sparse"]


@dataclass(frozen=True, kw_only=True)
class Operation(PickledWithoutHash):
    """What one block does in one stage of diffusion time.

    Attributes:
        role: name of the role.
        block: index of the block, from 0 at the bottom.
        queries: grid of the tokens that attend, and that leave the block.
        keys: grid of the tokens that are attended to.
        amounts: how much of the block is computed; () is all of it.
    """

    role: str
    block: int
    queries: TokenGrid
    keys: TokenGrid
    amounts: Amounts = ()

    @cached_property
    def _hash(self) -> int:
        return hash((self.block, self.key))

    def __hash__(self) -> int:
        return self._hash  # routes are hashed by it

    @cached_property
    def key(self) -> OperationKey:
        """Everything but the block's place: MACs and time depend on nothing else."""
        return (self.role, self.queries, self.keys, self.amounts)

    def amount(self, name: str, *, full: int) -> int:
        """Tell how much of `name` is computed; `full` where the operation does not say."""
        return dict(self.amounts).get(name, full)


Route = tuple[Operation, ...]
"""The operations of one model call, bottom to top."""


def _no_params(_: TransformerShape) -> int:
    return 0


def _no_macs(_: Operation, __: TransformerShape) -> int:
    return 0


def _fits_all(_: TransformerShape) -> None:
    pass


class HashedOnce(PickledWithoutHash, tuple[Operation, ...]):
    """A route that computes its hash once: schedules share routes, and plans look their graphs up by them."""

    @cached_property
    def _hash(self) -> int:
        return super().__hash__()

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True, kw_only=True)
class Role:
    """A role, as far as it is known without running it.

    Attributes:
        name: in operations and digests.
        letter: one letter, for printed schedules.
        colour: of the block in pictures, "#rrggbb".
        macs: multiply-accumulates of an operation, by the rule of `flexsearch.schedule.cost`.
        params: parameters that the role adds to those of the base's block; negative where it leaves some unused.
        macs_beside_modules: the part of `macs` that is neither attention, MLP nor modulation.
        asks: density of the tokens that attend and leave the block.
        reads: density of the tokens that are attended to.
        whole: the role that it is in a stage in which nothing is left out; "" where it is itself.
        check: raises UserError, which says why, if it is not for a model of these sizes.
    """

    name: str
    letter: str
    colour: str
    macs: Callable[[Operation, TransformerShape], int]
    params: Callable[[TransformerShape], int] = _no_params
    macs_beside_modules: Callable[[Operation, TransformerShape], int] = _no_macs
    asks: Density = "dense"
    reads: Density = "dense"
    whole: str = ""
    check: Callable[[TransformerShape], None] = _fits_all

    @property
    def uses_sparse_tokens(self) -> bool:
        """Whether the role needs a sparse grid."""
        return "sparse" in (self.asks, self.reads)

    @property
    def leaves_dense(self) -> bool:
        """Whether no dense tokens wait when the block has run."""
        return self.asks == "dense"

    @property
    def recovers(self) -> bool:
        """Whether dense tokens that waited read sparse ones, which are merged into them."""
        return (self.asks, self.reads) == ("dense", "sparse")

    def tokens(self, dense: TokenGrid, sparse: TokenGrid) -> tuple[TokenGrid, TokenGrid]:
        """Give the grids of queries and keys."""
        grids = {"dense": dense, "sparse": sparse}
        return grids[self.asks], grids[self.reads]


_ROLES: dict[str, Role] = {}
ROLES: Mapping[str, Role] = MappingProxyType(_ROLES)
"""Every known role by name, in the order of registration."""


def register_role(role: Role) -> Role:
    """Make a role known.

    Raises:
        UserError: its letter is not one letter, or another role's.
    """
    taken = {known.letter for known in _ROLES.values() if known.name != role.name}
    if len(role.letter) != 1 or role.letter in taken:
        raise UserError(
            f"must be one letter that is not in {sorted(taken)}, but got {role.letter!r}", field=f"{role.name}.letter"
        )
    _ROLES[role.name] = role
    return role


def check_roles(roles: Iterable[str], shape: TransformerShape, *, field: str = "segments") -> None:
    """Check that the blocks of a model can play roles.

    Raises:
        UserError: one is not for a model of these sizes.
    """
    for role in dict.fromkeys(roles):
        try:
            ROLES[role].check(shape)
        except UserError as error:
            raise error.under(field) from None


def legend(schedules: Iterable[str]) -> Iterator[str]:
    """Say which letter of printed schedules stands for which role, e.g. "D dense"."""
    letters = {letter for schedule in schedules for letter in schedule.partition(" ")[0]}
    for role in _ROLES.values():
        if role.letter in letters:
            yield f"{role.letter} {role.name}"

"""Roles: what a block does, and what is known of each without running it.

The paper's five (arXiv 2412.06028, section 3.2) are costed in `flexsearch.schedule.macs`. A further role works on the
dense tokens; it brings its cost here and its operation to `flexsearch.models.operations`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flexsearch.errors import UserError

if TYPE_CHECKING:  # they import this module
    from flexsearch.schedule.macs import TransformerShape
    from flexsearch.schedule.plan import Operation

Role = str
LETTERS: dict[Role, str] = {"pool": "P", "merge": "M", "sparse": "s", "recover": "R", "dense": "D"}


@dataclass(frozen=True, kw_only=True)
class RoleCost:
    """What a block costs that plays a further role.

    Attributes:
        macs: multiply-accumulates of an operation, by the rule of `flexsearch.schedule.macs`.
        unused_params: parameters of a block that the role leaves unused.
    """

    macs: Callable[["Operation", "TransformerShape"], int]
    unused_params: Callable[["TransformerShape"], int]


COSTS: dict[Role, RoleCost] = {}
"""Of the roles that are not the paper's."""


def register_role(role: Role, *, letter: str, cost: RoleCost) -> None:
    """Makes a role known that reads and leaves all dense tokens.

    Args:
        role: its name, in operations and digests.
        letter: one letter for printed schedules, not taken by another role.
        cost: its MACs and parameters.

    Raises:
        UserError: the letter is taken, or the role is one of the paper's.
    """
    taken = {letter: role for role, letter in LETTERS.items()}
    if len(letter) != 1 or taken.get(letter, role) != role:
        raise UserError(
            f"must be one letter that is not in {sorted(taken)}, but got {letter!r}", field=f"{role}.letter"
        )
    if role in LETTERS and role not in COSTS:
        raise UserError("is one of the paper's roles", field=role)
    LETTERS[role], COSTS[role] = letter, cost

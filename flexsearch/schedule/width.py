"""Width: how many heads and MLP channels of a block are computed, by stage of diffusion time.

Source: DyDiT (arXiv 2410.03456), whose routers read the timestep alone, so that widths can be tabulated. Where we
depart: there are no routers, a search chooses; widths are static, and only what is kept is computed.

Amounts are eighths of the whole, so that a schedule fits models of any size. Which heads and channels these are says
the model's order (`flexsearch.models.width`): a width always keeps the first, so that wider ones hold narrower ones.
Letters: C width.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from flexsearch.errors import UserError
from flexsearch.schedule.fields import check_fields
from flexsearch.schedule.role import Amounts
from flexsearch.schedule.shape import TransformerShape

EIGHTHS = 8
HEADS, HIDDEN, TOKENS = "heads", "hidden", "tokens"
"""Names of amounts: heads of the attention, hidden channels of the MLP, tokens that do not bypass."""

Eighths = Annotated[int, Ge(1), Le(EIGHTHS)]


@dataclass(frozen=True, kw_only=True)
class Width:
    """Heads and hidden channels of a run of blocks, in eighths of all; 8 is all of them.

    Attributes:
        clean_heads: heads of the attention near the data.
        noise_heads: the same near noise; None is as near the data. In between they change linearly, rounded down.
        clean_hidden: hidden channels of the MLP near the data.
        noise_hidden: the same near noise.
    """

    clean_heads: Eighths = EIGHTHS
    noise_heads: Eighths | None = None
    clean_hidden: Eighths = EIGHTHS
    noise_hidden: Eighths | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    def amounts(self, stage: int, num_stages: int) -> Amounts:
        """Give the amounts of a stage, from 0 near the data; what is whole is left out."""
        found = {
            HEADS: amount_at(self.clean_heads, self.noise_heads, stage, num_stages),
            HIDDEN: amount_at(self.clean_hidden, self.noise_hidden, stage, num_stages),
        }
        return tuple((name, eighths) for name, eighths in found.items() if eighths < EIGHTHS)


def amount_at(clean: int, noise: int | None, stage: int, num_stages: int) -> int:
    """Go linearly from what is computed near the data to what is near noise, rounded down; one stage is data's."""
    last = max(num_stages - 1, 1)
    return (clean * (last - stage) + (clean if noise is None else noise) * stage) // last


FULL_WIDTH = Width()


@dataclass(frozen=True, kw_only=True)
class Kept:
    """How many tokens, or blocks of keys, are kept, in eighths of all.

    Attributes:
        clean: near the data.
        noise: near noise; None is as near the data. In between they change linearly, rounded down.
    """

    clean: Eighths = EIGHTHS
    noise: Eighths | None = None

    def __post_init__(self) -> None:
        check_fields(self)

    def amounts(self, name: str, stage: int, num_stages: int) -> Amounts:
        """Give the amount of a stage, from 0 near the data, under a name; none where all are kept."""
        eighths = amount_at(self.clean, self.noise, stage, num_stages)
        return ((name, eighths),) if eighths < EIGHTHS else ()


ALL_KEPT = Kept()


def is_narrow(amounts: Amounts) -> bool:
    """Tell whether heads or hidden channels are left out."""
    return any(name in (HEADS, HIDDEN) for name, _ in amounts)


def num_heads(amounts: Amounts, shape: TransformerShape) -> int:
    """Heads that are computed, at least one, rounded down."""
    return max(1, shape.num_heads * dict(amounts).get(HEADS, EIGHTHS) // EIGHTHS)


def attention_width(amounts: Amounts, shape: TransformerShape) -> int:
    """Channels of the heads that are computed."""
    if HEADS not in dict(amounts):
        return shape.width
    return num_heads(amounts, shape) * shape.width // shape.num_heads


def hidden_width(amounts: Amounts, shape: TransformerShape) -> int:
    """Hidden channels of the MLP that are computed, rounded down."""
    return shape.mlp_ratio * shape.width * dict(amounts).get(HIDDEN, EIGHTHS) // EIGHTHS


def check_width(amounts: Iterable[Amounts], shape: TransformerShape, *, field: str = "segments") -> None:
    """Check that a model's blocks can be computed in part.

    Raises:
        UserError: they are not, and some amount asks for it.
    """
    names = {name for one in set(amounts) for name, _ in one}
    if not shape.num_heads and names & {HEADS, HIDDEN, TOKENS}:
        raise UserError(
            "this base's blocks are computed whole; those of DiT, PixArt-alpha and Latte can be computed in part",
            field=field,
        )

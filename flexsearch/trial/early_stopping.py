"""Configure early stopping: trials are compared on their way, so that the worse are not trained to the end."""

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from flexsearch.errors import UserError
from flexsearch.settings import settings


@settings
class EarlyStopping:
    """Multi-objective successive halving over fine-tuning updates.

    Attributes:
        rungs: shares of a trial's updates after which its quality is compared. 0 is before the first one: after a warm
            start that ranks schedules as well as a quarter of a short trial does (experiments/LOG.md, 2026-11-25), and
            without one it means nothing. A rung pays where its images cost little beside the updates that it saves.
        keep: share of the trials at a rung that goes on; what no other trial at the rung dominates always does.
        images: samples of a rung's measurement; None takes those of `objectives.quality`.
    """

    rungs: tuple[Annotated[float, Ge(0), Lt(1)], ...] = (0.0,)
    keep: Annotated[float, Gt(0), Le(1)] = 0.5
    images: Annotated[int, Ge(2)] | None = None

    def __post_init__(self) -> None:
        if list(self.rungs) != sorted(set(self.rungs)) or not self.rungs:
            raise UserError(f"must be one or more rising shares, but got {list(self.rungs)}", field="rungs")

    def updates(self, total: int) -> tuple[int, ...]:
        """Give the rungs of a fine-tune of `total` updates, in updates."""
        return tuple(sorted({int(share * total) for share in self.rungs}))

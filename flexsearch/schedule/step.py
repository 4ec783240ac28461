"""One step of a plan, and the graph that it computes."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

from flexsearch.schedule.cost import route_macs
from flexsearch.schedule.gain import NO_GAIN, Gain
from flexsearch.schedule.pickling import PickledWithoutHash
from flexsearch.schedule.role import Route
from flexsearch.schedule.shape import TransformerShape

Reused = Literal["residual", "modules", "output", "mean", "gaussian"]
"""What of an earlier call takes the place of blocks that are not computed: the sum that the blocks of a span add to
their tokens, the outputs of their modules (attention, MLP), whose gates are computed anew, or the whole output. Of no
image, but of the base: the data mean, or the data's mean and covariance."""

LETTERS = {None: "F", "model": "F", "output": "n", "mean": "m", "gaussian": "g"}
"""How a step is printed, by what it reuses or starts from; p is one that reuses a residual or modules."""
LEGEND_OF_STEPS = "F full, p partial, n null steps, m the data mean, g mean and covariance of the data"


@dataclass(frozen=True, kw_only=True)
class Graph(PickledWithoutHash):
    """One static computation: what is compiled, exported and timed. Steps that compute the same share it.

    Attributes:
        stage: of diffusion time, from 0 near the data.
        route: the operations whose blocks are computed, bottom to top.
        rows: per image; 2 with guidance.
        span: blocks from the first to before the second, whose residual or modules are reused or left; None where
            nothing is.
        reuses: what takes the place of the span's blocks; None where all blocks are computed.
        order: of the extrapolation of what is reused; 0 takes it as it was.
        leaves: what is kept for a later step; None where nothing is.
        gain: factors on the tokens; the default changes nothing.
    """

    stage: int
    route: Route
    rows: int = 1
    span: tuple[int, int] | None = None
    reuses: Reused | None = None
    order: int = 0
    leaves: Reused | None = None
    gain: Gain = NO_GAIN

    @cached_property
    def _hash(self) -> int:
        return hash((self.stage, self.route, self.rows, self.span, self.reuses, self.order, self.leaves, self.gain))

    def __hash__(self) -> int:
        return self._hash  # of many operations, and asked for at every call of a compiled model

    @property
    def calls_model(self) -> bool:
        """Whether anything is computed by the model."""
        return self.reuses not in ("output", "mean", "gaussian")

    @property
    def parts(self) -> tuple[Route, Route, Route]:
        """The operations below the span, inside it and above it; without a span all are above."""
        low, high = self.span or (0, 0)
        below = tuple(operation for operation in self.route if operation.block < low)
        inside = tuple(operation for operation in self.route if low <= operation.block < high)
        return below, inside, tuple(operation for operation in self.route if operation.block >= max(low, high))

    @property
    def reused_blocks(self) -> range:
        """Blocks of the route whose modules' outputs are taken from an earlier call."""
        return range(*self.span) if self.reuses == "modules" and self.span is not None else range(0)

    def macs(self, shape: TransformerShape) -> int:
        """Multiply-accumulates of one call for one image, all its rows, its text read before."""
        return _macs(self, shape)


@lru_cache(maxsize=1 << 14)
def _macs(graph: Graph, shape: TransformerShape) -> int:
    return 0 if not graph.calls_model else graph.rows * route_macs(graph.route, shape, graph.reused_blocks)


class Step(NamedTuple):
    """One call of the solver's step. Heun's method has two of them for each sampler step but the last.

    Attributes:
        time: diffusion time at which the model is called, 0 data to 1 noise.
        graph: what is computed.
        theta: what is reused is `last + theta * (last - the one before)`; 0 takes the last as it was.
        is_guided: whether the difference of guidance's two rows moves the output: that of this call, or with one row
            the last that was computed. Without meaning where the target is not guided.
    """

    time: float
    graph: Graph
    theta: float = 0.0
    is_guided: bool = True

    @property
    def stage(self) -> int:
        """Stage of diffusion time, from 0 near the data."""
        return self.graph.stage

    @property
    def route(self) -> Route:
        """The operations whose blocks are computed, bottom to top."""
        return self.graph.route

    @property
    def letter(self) -> str:
        """F a full step; p reuses a residual or modules, n takes the output of others, m the data mean, g mean and
        covariance of the data."""
        return LETTERS.get(self.graph.reuses, "p")

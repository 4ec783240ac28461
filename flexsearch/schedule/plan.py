"""The plan: one step per sampler step. Everything else reads it: sampling, MACs, latency, pictures, exported graphs."""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Literal

from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.clock import Clock
from flexsearch.schedule.cost import model_params, route_macs
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.role import Route
from flexsearch.schedule.shape import TokenGrid, TransformerShape
from flexsearch.schedule.timetable import Timetable


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a candidate is lowered for.

    Attributes:
        shape: the base's sizes.
        clock: spacing of its scheduler.
        is_guided: classifier-free guidance: every model call has two rows per image.
    """

    shape: TransformerShape
    clock: Clock = field(default_factory=Clock)
    is_guided: bool = False

    @property
    def rows(self) -> int:
        """Rows of a model call per image."""
        return 2 if self.is_guided else 1

    @property
    def shift(self) -> float:
        """The clock's shift for this many tokens: training draws its times alike."""
        return self.clock.shift_at(self.shape.grid.num_tokens)


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One static computation: what is compiled, exported and timed. Steps that compute the same share it.

    Attributes:
        stage: of diffusion time, from 0 near the data.
        route: the operations that are computed, bottom to top.
        rows: per image; 2 with guidance.
        reuses: what takes the place of blocks that are not computed: "residual" of an earlier step, or "output", which
            calls no model; None where nothing is reused.
        order: of the extrapolation of what is reused; 0 takes it as it was.
        leaves: whether the residual is kept for a later step.
    """

    stage: int
    route: Route
    rows: int = 1
    reuses: Literal["residual", "output"] | None = None
    order: int = 0
    leaves: bool = False

    @cached_property
    def _hash(self) -> int:
        return hash((self.stage, self.route, self.rows, self.reuses, self.order, self.leaves))

    def __hash__(self) -> int:
        return self._hash  # of many operations, and asked for at every call of a compiled model

    def macs(self, shape: TransformerShape) -> int:
        """Multiply-accumulates of one call for one image, all its rows."""
        return _macs(self, shape)


@lru_cache(maxsize=1 << 14)
def _macs(graph: Graph, shape: TransformerShape) -> int:
    return 0 if graph.reuses == "output" else graph.rows * route_macs(graph.route, shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One sampler step.

    Attributes:
        time: diffusion time at which the model is called, 0 data to 1 noise.
        graph: what is computed.
        passes: model calls of the step; a solver of second order that is no multistep method has 2.
    """

    time: float
    graph: Graph
    passes: int = 1

    @property
    def stage(self) -> int:
        """Stage of diffusion time, from 0 near the data."""
        return self.graph.stage

    @property
    def route(self) -> Route:
        """The operations that are computed, bottom to top."""
        return self.graph.route


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a candidate computes for one image.

    Attributes:
        candidate: what it was lowered from.
        target: what it was lowered for.
        steps: from noise to data.
    """

    candidate: Candidate
    target: Target
    steps: tuple[Step, ...]

    @cached_property
    def counts(self) -> Counter[Graph]:
        """How often each graph runs for one image. The one loop over steps that costs are taken from."""
        passes: dict[int, int] = {}  # by identity: steps share their graphs, and comparing routes takes longer
        graphs: dict[int, Graph] = {}
        for step in self.steps:
            key = id(step.graph)
            graphs[key] = step.graph
            passes[key] = passes.get(key, 0) + step.passes
        found: Counter[Graph] = Counter()
        for key, graph in graphs.items():
            found[graph] += passes[key]
        return found

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """Every graph once, in the order of first use."""
        return tuple(self.counts)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image: all sampler steps, all rows of guidance."""
        return sum(num * graph.macs(self.target.shape) for graph, num in self.counts.items())

    @property
    def params(self) -> int:
        """Parameters that the schedule uses."""
        return model_params(self.candidate.schedule.roles, self.target.shape)


def lower(candidate: Candidate, target: Target) -> Plan:
    """Lower a candidate to steps: the only function that knows at which time a step runs, and so in which stage.

    Raises:
        UserError: the schedule does not fit the model, or there are more steps than the scheduler has timesteps.
    """
    graphs = stage_graphs(candidate.schedule, target.shape.grid, num_blocks=target.shape.num_blocks, rows=target.rows)
    staged = _staged_times(
        target.clock, candidate.sampling.steps, target.shape.grid.num_tokens, candidate.schedule.timetable
    )
    steps = tuple(Step(time=time, graph=graphs[stage]) for time, stage in staged)
    return Plan(candidate=candidate, target=target, steps=steps)


@lru_cache(maxsize=1 << 14)
def stage_graphs(
    schedule: DensitySchedule, grid: TokenGrid, *, num_blocks: int | None = None, rows: int = 1
) -> tuple[Graph, ...]:
    """Give the graph of a whole model call in every stage of a schedule.

    Args:
        schedule: what to lower.
        grid: of the dense tokens.
        num_blocks: blocks of the model; None takes the schedule's word.
        rows: per image.

    Raises:
        UserError: the schedule does not fit.
    """
    routes = schedule.routes(grid, num_blocks=num_blocks)
    return tuple(Graph(stage=stage, route=route, rows=rows) for stage, route in enumerate(routes))


@lru_cache(maxsize=1 << 12)
def _staged_times(clock: Clock, steps: int, num_tokens: int, timetable: Timetable) -> tuple[tuple[float, int], ...]:
    """(time, stage) of every sampler step."""
    times = clock.times(steps, num_tokens=num_tokens)
    return tuple((time, timetable.stage_of(time)) for time in times)

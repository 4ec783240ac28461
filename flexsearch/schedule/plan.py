"""The plan: one step per sampler step. Everything else reads it: sampling, MACs, latency, pictures, exported graphs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

from flexsearch.schedule.cache import NO_CACHE
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.clock import Clock
from flexsearch.schedule.cost import model_params, read_text_macs
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.gain import NO_GAIN, Gain
from flexsearch.schedule.guidance import ALL_ROWS
from flexsearch.schedule.role import check_roles
from flexsearch.schedule.shape import TokenGrid, TransformerShape
from flexsearch.schedule.solver import SolverName, times_under
from flexsearch.schedule.start import started
from flexsearch.schedule.step import Graph, Step
from flexsearch.schedule.timetable import Timetable
from flexsearch.schedule.width import check_width


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
class Plan:
    """What a candidate computes for one image.

    Attributes:
        candidate: what it was lowered from.
        target: what it was lowered for.
        steps: one per call of the solver's step, from noise to data.
    """

    candidate: Candidate
    target: Target
    steps: tuple[Step, ...]

    @cached_property
    def counts(self) -> Counter[Graph]:
        """How often each graph runs for one image. The one loop over steps that costs are taken from."""
        graphs = [step.graph for step in self.steps]
        known = dict(zip(map(id, graphs), graphs, strict=True))
        found: Counter[Graph] = Counter()
        for key, num in Counter(map(id, graphs)).items():  # by identity: comparing routes takes longer
            found[known[key]] += num
        return found

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """Every graph once, in the order of first use."""
        return tuple(self.counts)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image: all sampler steps, all rows of guidance, text once."""
        shape = self.target.shape
        steps = sum(num * graph.macs(shape) for graph, num in self.counts.items())
        return steps + self.text_rows * read_text_macs(shape)

    @property
    def text_rows(self) -> int:
        """Rows per image whose text is read, once before the first step; 0 where no block reads any."""
        if not self.target.shape.text_tokens:
            return 0
        return max((graph.rows for graph in self.counts if graph.route), default=0)

    @property
    def params(self) -> int:
        """Parameters that the schedule uses."""
        return model_params(self.candidate.schedule.roles, self.target.shape)


def lower(candidate: Candidate, target: Target) -> Plan:
    """Lower a candidate to steps: the only function that knows at which time a step runs, and so in which stage.

    Raises:
        UserError: the schedule does not fit the model, there are more steps than the scheduler has timesteps, or the
            solver, the shift or the start is not for it.
    """
    schedule, sampling = candidate.schedule, candidate.sampling
    steps: Sequence[Step] = _full_steps(schedule, sampling.solver, sampling.steps, sampling.shift, target)
    if sampling.guidance != ALL_ROWS and target.is_guided:
        steps = sampling.guidance.applied(steps, sampling.pattern.replace("m", "F"))
    if sampling.start != "model":
        steps = started(steps, sampling.start, target.shape)
    if sampling.cache != NO_CACHE:
        free = len(steps) - sampling.num_patterned
        steps = [*steps[:free], *sampling.cache.applied(steps[free:])]
    if sampling.gain != NO_GAIN:
        steps = [step._replace(graph=_with_gain(step.graph, sampling.gain)) for step in steps]
    return Plan(candidate=candidate, target=target, steps=tuple(steps))


@lru_cache(maxsize=1 << 8)  # variants of one schedule follow each other; thousands of plans would fill the memory
def _full_steps(
    schedule: DensitySchedule, solver: SolverName, steps: int, shift: float, target: Target
) -> Sequence[Step]:
    """The steps that compute all blocks on all rows."""
    shape = target.shape
    check_width((one for stage in schedule.amounts for one in stage), shape)
    check_roles(schedule.roles, shape)
    graphs = stage_graphs(schedule, shape.grid, num_blocks=shape.num_blocks, rows=target.rows)
    staged = _staged_times(target.clock, solver, steps, shift, shape.grid.num_tokens, schedule.timetable)
    return tuple(Step(time, graphs[stage]) for time, stage in staged)


@lru_cache(maxsize=1 << 14)
def _with_gain(graph: Graph, gain: Gain) -> Graph:
    return replace(graph, gain=gain) if graph.calls_model else graph


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
def _staged_times(
    clock: Clock, solver: SolverName, steps: int, shift: float, num_tokens: int, timetable: Timetable
) -> tuple[tuple[float, int], ...]:
    """(time, stage) of every call of the solver's step."""
    times = times_under(solver, clock, steps, shift=shift, num_tokens=num_tokens)
    return tuple((time, timetable.stage_of(time)) for time in times)

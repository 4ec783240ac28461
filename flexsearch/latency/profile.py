"""Latency by composition: the times of terms on one device, such as operations, and from them that of any plan.

What the terms are: `flexsearch.latency.terms`. How their times are found: `flexsearch.latency.fit`. Needs no torch: a
profile is a JSON file.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter

from flexsearch.errors import UserError
from flexsearch.latency.terms import CALL, IMAGE, Term, graph_terms, has_one_row, image_terms, operation_term, terms_of
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families import FAMILIES
from flexsearch.schedule.plan import Plan, stage_graphs
from flexsearch.schedule.role import Amounts, OperationKey
from flexsearch.schedule.shape import TokenGrid
from flexsearch.schedule.step import Graph
from flexsearch.schedule.timetable import Timetable

PLATEAU_WITHIN = 0.05
"""Sparse grids whose model calls differ by less than this, noise included, are on one plateau."""


WORST_ERROR = 0.10
LEAST_TAU = 0.8
"""A profile that is further off, or ranks worse, was timed on a machine that was busy: nothing is predicted by it."""


def accuracy(error: float, kendall_tau: float | None, num: int) -> str:
    """Say how well a profile predicts."""
    tau = "" if kendall_tau is None else f", Kendall tau {kendall_tau:.2f}"
    return f"predicts {num} schedules outside the fit with a median error of {error:.1%}{tau}"


@dataclass(frozen=True, kw_only=True)
class OperationTime:
    """Time of one block in one role, in ms per image and model call (with guidance, of both its rows)."""

    role: str
    queries: TokenGrid
    keys: TokenGrid
    amounts: Amounts = ()
    ms: float

    @property
    def key(self) -> OperationKey:
        """What decides the time, as `Operation.key`."""
        return (self.role, self.queries, self.keys, self.amounts)


@dataclass(frozen=True, kw_only=True)
class TermTime:
    """Time of another term, in ms per image each time that it occurs."""

    term: Term
    ms: float


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """A candidate that the profile was not fitted on: what was predicted, and what was measured, in ms per image.

    Attributes:
        schedule: the candidate as it is printed.
        candidate: `Candidate.to_dict()`.
    """

    schedule: str
    candidate: Mapping[str, Any]
    predicted_ms: float
    measured_ms: float


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """Sparse grids, fewest tokens first, whose model calls take the same time but for the share `within`.

    The largest of them keeps most tokens and costs nothing.
    """

    grids: tuple[TokenGrid, ...]
    within: float


@dataclass(frozen=True, kw_only=True)
class LatencyProfile:
    """Times of the operations of a model on one device.

    Attributes:
        num_blocks: blocks of the model.
        grid: its dense tokens.
        operations: time of every operation that was profiled, on all rows of guidance.
        step_ms: what a sampler step takes beside its blocks, on all rows: embedding, conditioning, head, guidance and
            the base's own solver.
        image_ms: what an image takes beside its sampler steps.
        others: time of every other term: an image's text, other solvers, reuse over steps, guidance on one row.
        reference_ms: latency of the reference workload, a batch, while the profile was made.
        noise: relative standard error of a time that was fitted, the median.
        error: median relative error on `held_out`.
        kendall_tau: rank correlation of prediction and measurement on `held_out`; None where nothing can be ranked.
        held_out: candidates that were timed end to end and not used for the fit.
        protocol: how all this was measured.
    """

    num_blocks: int
    grid: TokenGrid
    operations: tuple[OperationTime, ...]
    step_ms: float
    image_ms: float
    reference_ms: float
    noise: float
    error: float
    kendall_tau: float | None
    held_out: tuple[HeldOut, ...]
    protocol: Mapping[str, Any]
    others: tuple[TermTime, ...] = ()

    @property
    def accuracy(self) -> str:
        """Say how well it predicts candidates that it was not fitted on."""
        return accuracy(self.error, self.kendall_tau, len(self.held_out))

    @property
    def is_sound(self) -> bool:
        """Whether it predicts well enough to be used; where nothing can be ranked, the error alone tells."""
        return self.error <= WORST_ERROR and (self.kendall_tau is None or self.kendall_tau >= LEAST_TAU)

    @classmethod
    def of(cls, times: Mapping[Term, float], **rest: Any) -> "LatencyProfile":
        """Build a profile from the ms of terms, and the other fields."""
        operations, others = [], []
        for term, ms in times.items():
            if term.operation is not None and term == operation_term(term.operation):
                role, queries, keys, amounts = term.operation
                operations.append(OperationTime(role=role, queries=queries, keys=keys, amounts=amounts, ms=ms))
            elif term not in (CALL, IMAGE):
                others.append(TermTime(term=term, ms=ms))
        return cls(
            operations=tuple(operations),
            step_ms=times[CALL],
            image_ms=times[IMAGE],
            others=tuple(others),
            **rest,
        )

    @cached_property
    def _ms(self) -> dict[Term, float]:
        own = {operation_term(one.key): one.ms for one in self.operations}
        return {IMAGE: self.image_ms, CALL: self.step_ms, **own, **{one.term: one.ms for one in self.others}}

    @cached_property
    def _graphs_ms(self) -> dict[tuple[Graph, bool], float | None]:
        """Every graph that was asked for: candidates share them."""
        return {}

    def _graph_ms(self, graph: Graph, *, is_one_row: bool = False) -> float | None:
        """One step that computes a graph; None where something of it was not profiled."""
        key = (graph, is_one_row)
        if key not in self._graphs_ms:
            terms = graph_terms(graph, is_one_row=is_one_row)
            self._graphs_ms[key] = self._sum(terms) if terms.keys() <= self._ms.keys() else None
        return self._graphs_ms[key]

    def _sum(self, terms: Mapping[Term, int]) -> float:
        return sum(num * self._ms[term] for term, num in terms.items())

    def covers(self, plan: Plan) -> bool:
        """Tell whether every term was profiled."""
        known = (self._graph_ms(graph, is_one_row=has_one_row(graph, plan)) for graph in plan.graphs)
        return None not in known and image_terms(plan).keys() <= self._ms.keys()

    def predict(self, plan: Plan, *, reference_ms: float | None = None) -> float:
        """Predict latency in ms per image.

        Args:
            plan: of a candidate, for the model that was profiled.
            reference_ms: latency of the reference workload now; the device may be slower or faster than it was when
                the profile was made. None takes it to be as fast.

        Raises:
            UserError: a term was not profiled.
        """
        if not self.covers(plan):
            unknown = next(term for term in terms_of(plan) if term not in self._ms)
            raise UserError(f"{unknown} was not profiled", field="profile")
        ms = self._sum(image_terms(plan))
        for graph, num in plan.counts.items():
            ms += num * (self._graph_ms(graph, is_one_row=has_one_row(graph, plan)) or 0.0)
        return ms if reference_ms is None else ms * reference_ms / self.reference_ms

    def sparse_call_ms(self) -> dict[TokenGrid, float]:
        """Predict one model call that is as sparse as a family can be (the first of its designs), by sparse grid."""
        times: dict[TokenGrid, float] = {}
        designs = [family.designs(self.num_blocks)[0] for family in FAMILIES.values() if family.needs_grid]
        for grid in {one.queries for one in self.operations} - {self.grid}:
            timetable = Timetable(grids=(self.grid.side_of(grid),), frames=grid.frames)
            for segments in designs:
                (graph,) = stage_graphs(DensitySchedule(segments=segments, timetable=timetable), self.grid)
                ms = self._graph_ms(graph)
                if ms is not None:
                    times[grid] = ms
        return times

    def plateaus(self) -> list[Plateau]:
        """Find runs of two or more sparse grids that cost the same.

        Their difference, and twice the standard error of a difference, are below `PLATEAU_WITHIN`. A profile that is
        too noisy to tell finds none.
        """
        runs: list[list[tuple[TokenGrid, float]]] = []
        for grid, ms in sorted(self.sparse_call_ms().items(), key=lambda item: item[0].num_tokens):
            if runs and self._within([*runs[-1], (grid, ms)]) <= PLATEAU_WITHIN:
                runs[-1].append((grid, ms))
            else:
                runs.append([(grid, ms)])
        return [Plateau(grids=tuple(grid for grid, _ in run), within=self._within(run)) for run in runs if len(run) > 1]

    def _within(self, run: Sequence[tuple[TokenGrid, float]]) -> float:
        times = [ms for _, ms in run]
        return max(times) / min(times) - 1 + 2 * math.sqrt(2) * self.noise

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values; `from_dict` is the inverse."""
        values: dict[str, Any] = _JSON.dump_python(self, mode="json")
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LatencyProfile":
        """Build a profile from JSON values."""
        return _JSON.validate_python(values)


_JSON = TypeAdapter(LatencyProfile)

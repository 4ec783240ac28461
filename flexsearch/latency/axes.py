"""Say what of sampling occurs in a space or in plans, as far as the times of a profile depend on it. Needs no torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flexsearch.schedule.plan import Plan
from flexsearch.schedule.solver import SolverName
from flexsearch.schedule.step import Graph, Reused
from flexsearch.space.search_space import SearchSpace
from flexsearch.space.searched import Searched


@dataclass(frozen=True, kw_only=True)
class Axes:
    """The kinds of steps that occur beside those that the base's own solver computes in full, on all rows.

    Attributes:
        solvers: others than the base's own.
        reuses: what steps reuse, and by which order of extrapolation.
        has_one_row: whether some steps leave guidance's row without a condition out.
    """

    solvers: frozenset[SolverName] = frozenset()
    reuses: frozenset[tuple[Reused, int]] = frozenset()
    has_one_row: bool = False

    @classmethod
    def of_plans(cls, plans: Iterable[Plan]) -> "Axes":
        """Give those of some plans."""
        known = list(plans)
        graphs = [(graph, plan.target.rows) for plan in known for graph in plan.graphs]
        return cls(
            solvers=frozenset(plan.candidate.sampling.solver for plan in known) - {"base"},
            reuses=frozenset(_kind(graph) for graph, _ in graphs if graph.reuses is not None),
            has_one_row=any(graph.rows < rows for graph, rows in graphs),
        )

    @classmethod
    def of_space(cls, space: SearchSpace) -> "Axes":
        """Give those that candidates of a space may have."""
        parts = {part.name: part for part in space.sampling.parts}
        return cls(
            solvers=frozenset(space.sampling.values_of("solver")) - {"base"},
            reuses=(_reuses(parts["cache"]) if "cache" in parts else frozenset())
            | ({("output", 0)} if space.starts else frozenset()),
            has_one_row="guidance" in parts and space.target.is_guided,
        )

    def __or__(self, other: "Axes") -> "Axes":
        return Axes(
            solvers=self.solvers | other.solvers,
            reuses=self.reuses | other.reuses,
            has_one_row=self.has_one_row or other.has_one_row,
        )

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values; {} where there is nothing."""
        values = {"solvers": sorted(self.solvers), "reuses": sorted(self.reuses), "has_one_row": self.has_one_row}
        return {name: value for name, value in values.items() if value}


def _kind(graph: Graph) -> tuple[Reused, int]:
    """Give what a graph reuses, as far as its time depends on it: all steps without a model call are alike."""
    assert graph.reuses is not None
    return graph.reuses if graph.calls_model else "output", graph.order


def _reuses(cache: Searched) -> frozenset[tuple[Reused, int]]:
    """Give what the choices of a cache may reuse."""
    patterns = cache.values_of("pattern")
    letters = set("".join(pattern for pattern in patterns if pattern is not None))
    if not patterns or None in patterns:
        shares = cache.values_of("nulls") or (0.5,)  # a continuous one has both kinds
        letters |= {"p"} if min(shares) < 1 else set()
        letters |= {"n"} if max(shares) > 0 else set()
    kinds: list[Reused] = ["output"] if "n" in letters else []
    if "p" in letters:
        kinds += ["residual" if one == "span" else "modules" for one in cache.values_of("reuse")]
    orders = range(max(cache.values_of("order")) + 1)  # after one full step nothing can be extrapolated yet
    return frozenset((kind, order) for kind in kinds for order in orders)

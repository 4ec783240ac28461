"""Terms of latency: what takes time, and how often each occurs in a plan. Needs no torch.

    latency(plan) = sum over terms (how often it occurs * its time)

A model call is one term by its rows and one per block, by all that decides the block's time. What is reused, kept for
later steps or skipped has terms of its own, so that every sampling of every schedule is a sum of few kinds of them.
Gains cost nothing: graphs that differ in them alone have equal terms.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from flexsearch.schedule.plan import Plan
from flexsearch.schedule.role import OperationKey
from flexsearch.schedule.solver import SolverName
from flexsearch.schedule.step import Graph

Kind = Literal[
    "image",
    "text",
    "call",
    "operation",
    "reused operation",
    "reused residual",
    "left residual",
    "left module outputs",
    "null step",
    "solver",
]


@dataclass(frozen=True, kw_only=True)
class Term:
    """Something that takes the same time wherever it occurs.

    Attributes:
        kind: what it is: "image" is what an image takes beside its steps; "text" what its caption takes, once, for all
            blocks; "call" a model call beside its blocks, and
            the step of the base's own solver; "operation" a block; "reused operation" a block whose modules' outputs
            are reused; "reused residual" that of a span of blocks; "left residual" and, of each block, "left module
            outputs" what is kept for later steps; "null step" one without a model call; "solver" what a step of
            another solver takes more than one of the base's own.
        operation: of a block, `Operation.key`.
        order: of the extrapolation of what is reused.
        is_one_row: whether guidance's row without a condition is left out.
        solver: its name.
    """

    kind: Kind
    operation: OperationKey | None = None
    order: int | None = None
    is_one_row: bool = False
    solver: SolverName | None = None

    @property
    def name(self) -> str:
        """What it is, without the tokens of a block."""
        named = self.operation[0] if self.operation is not None else self.solver or self.kind
        parts = [f"{named} solver" if self.solver is not None else named]
        if self.kind == "reused operation":
            parts.append("modules reused")
        if self.order is not None:
            parts.append(f"order {self.order}")
        if self.is_one_row:
            parts.append("one row")
        return ", ".join(parts)

    def __str__(self) -> str:
        if self.operation is None:
            return self.name
        _, queries, keys, amounts = self.operation
        part = f" with {dict(amounts)}" if amounts else ""
        return f"{self.name} from {keys} to {queries} tokens{part}"


IMAGE = Term(kind="image")
CALL = Term(kind="call")


@lru_cache(maxsize=1 << 14)
def graph_terms(graph: Graph, *, is_one_row: bool = False) -> Mapping[Term, int]:
    """Count the terms of one step that computes a graph."""
    if not graph.calls_model:
        return {Term(kind="null step", order=graph.order): 1}
    counts = Counter([Term(kind="call", is_one_row=is_one_row)])
    _, inside, _ = graph.parts
    taken = {operation.block for operation in inside} if graph.reuses == "modules" else set()
    for operation in graph.route:
        if operation.block in taken:
            counts[_reused(operation.key, graph.order, is_one_row)] += 1
        else:
            counts[operation_term(operation.key, is_one_row=is_one_row)] += 1
    if graph.reuses == "residual":
        counts[Term(kind="reused residual", order=graph.order, is_one_row=is_one_row)] += 1
    if graph.leaves == "residual":
        counts[Term(kind="left residual", is_one_row=is_one_row)] += 1
    elif graph.leaves == "modules":
        counts[Term(kind="left module outputs", is_one_row=is_one_row)] += len(inside)
    return counts


def operation_term(key: OperationKey, *, is_one_row: bool = False) -> Term:
    """Give the term of a block that is computed."""
    return Term(kind="operation", operation=key, is_one_row=is_one_row)


def _reused(key: OperationKey, order: int, is_one_row: bool) -> Term:
    return Term(kind="reused operation", operation=key, order=order, is_one_row=is_one_row)


def image_terms(plan: Plan) -> Counter[Term]:
    """Count the terms beside graphs: the image, its text, and the steps of a solver other than the base's own."""
    counts = Counter([IMAGE])
    if plan.text_rows:
        counts[Term(kind="text", is_one_row=plan.text_rows < plan.target.rows)] = 1
    solver = plan.candidate.sampling.solver
    if solver != "base":
        counts[Term(kind="solver", solver=solver)] = len(plan.steps)
    return counts


def has_one_row(graph: Graph, plan: Plan) -> bool:
    """Tell whether a graph of a plan leaves guidance's second row out."""
    return graph.rows < plan.target.rows


def terms_of(plan: Plan) -> Counter[Term]:
    """Count how often each term occurs for one image."""
    counts = image_terms(plan)
    for graph, num in plan.counts.items():
        for term, times in graph_terms(graph, is_one_row=has_one_row(graph, plan)).items():
            counts[term] += num * times
    return counts

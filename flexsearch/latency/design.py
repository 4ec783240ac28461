"""Plans that are timed to tell terms apart, and the plan of the dense base. Needs no torch.

The design: no blocks at all (the step by itself) and all blocks dense, each under two numbers of steps; every layout
that a family names in `Segment.designs`, once per sparse grid where it works on sparse tokens, and once more in every
amount that operations on sparse tokens are computed in; and all blocks of every other operation on dense tokens.

Where sampling is searched: the same on one row of guidance; the dense base under every other solver, with null steps,
and with what is reused and, more often, left; where modules' outputs are reused, every layout that reuses all of them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from flexsearch.latency.axes import Axes
from flexsearch.schedule.cache import NO_CACHE, Cache
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families import Segment
from flexsearch.schedule.plan import Plan, Target, lower, stage_graphs
from flexsearch.schedule.role import ROLES, Operation
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.step import Graph
from flexsearch.schedule.timetable import Timetable

DESIGN_STEPS = 4
"""Sampler steps of a designed plan; more of them where there is a second number, or where most are cheap."""


def dense_plan(target: Target, sampling: Sampling) -> Plan:
    """Lower the dense base."""
    return lower(Candidate(schedule=DensitySchedule.all_dense(target.shape.num_blocks), sampling=sampling), target)


def repeated(graph: Graph, sampling: Sampling, target: Target) -> Plan:
    """Give a plan whose full steps compute one graph, also one that no schedule lowers to.

    Its candidate is the dense base's without reuse, whose times it visits.
    """
    dense = dense_plan(target, replace(sampling, cache=NO_CACHE))
    is_guided = graph.rows == target.rows
    steps = [step._replace(graph=graph, is_guided=is_guided) for step in dense.steps]
    return replace(dense, steps=tuple(sampling.cache.applied(steps) if sampling.cache != NO_CACHE else steps))


def designed_plans(
    target: Target,
    *,
    families: Iterable[type[Segment]],
    timetables: Sequence[Timetable],
    operations: Iterable[Operation],
    axes: Axes,
) -> list[Plan]:
    """Give plans whose times tell terms apart.

    Args:
        target: what is timed.
        families: whose roles are wanted.
        timetables: of one stage each, one per sparse grid.
        operations: that are wanted; those on dense tokens that no family's design holds get a plan of their own.
        axes: of sampling that are wanted.
    """
    layouts = _layouts(target, families=families, timetables=timetables, operations=operations)
    by_rows = [layouts, *([[replace(graph, rows=1) for graph in layouts]] if axes.has_one_row else [])]
    return [
        *(plan for graphs in by_rows for plan in _in_full(graphs, target)),
        *(repeated(layouts[0], sampling, target) for sampling in _by_step(axes)),
        *(plan for graphs in by_rows for plan in _reusing(graphs, axes, target)),
    ]


def _layouts(
    target: Target,
    *,
    families: Iterable[type[Segment]],
    timetables: Sequence[Timetable],
    operations: Iterable[Operation],
) -> list[Graph]:
    """Graphs of whole model calls that hold as much of one operation as can be, the dense base's first."""
    shape = target.shape

    def graphs_of(*segments: Segment) -> Iterable[Graph]:
        schedules = [DensitySchedule(segments=segments, timetable=one) for one in timetables or (Timetable(),)]
        for schedule in dict.fromkeys(schedules):  # without sparse tokens all are equal
            yield from stage_graphs(schedule, shape.grid, num_blocks=shape.num_blocks, rows=target.rows)

    (dense,) = dense_plan(target, Sampling(steps=1)).graphs
    wanted = list(operations)
    roles = {one.role for one in wanted}
    layouts = [
        layout
        for family in families
        for layout in (*family.designs(shape.num_blocks), *family.further_designs(shape.num_blocks, roles))
    ]
    designed = [one for layout in layouts for one in graphs_of(*layout)]
    amounts = dict.fromkeys(one.amounts for one in wanted if one.amounts and ROLES[one.role].uses_sparse_tokens)
    sparse = [graph for graph in designed if any(ROLES[one.role].uses_sparse_tokens for one in graph.route)]
    for each in amounts:
        designed += [replace(one, route=tuple(replace(block, amounts=each) for block in one.route)) for one in sparse]
    held = {operation.key for graph in (dense, *designed) for operation in graph.route}
    others = {one.key: one for one in wanted if one.key not in held and one.queries == one.keys == shape.grid}
    for other in others.values():
        route = tuple(replace(other, block=block) for block in range(shape.num_blocks))
        designed.append(replace(dense, route=route))
    return list(dict.fromkeys((dense, *designed)))


def _in_full(layouts: Sequence[Graph], target: Target) -> Iterator[Plan]:
    """Plans without reuse: of no blocks and of the first layout under two numbers of steps, of the others under one."""
    dense, *others = layouts
    for graph, factor in ((replace(dense, route=()), 4), (dense, 2)):
        for num in (DESIGN_STEPS, factor * DESIGN_STEPS):
            yield repeated(graph, Sampling(steps=num), target)
    for graph in others:
        yield repeated(graph, Sampling(steps=DESIGN_STEPS), target)


def _by_step(axes: Axes) -> Iterator[Sampling]:
    """Give what a step takes whatever blocks compute: under another solver, or without a model call."""
    for solver in sorted(axes.solvers):
        yield Sampling(steps=2 * DESIGN_STEPS, solver=solver)
    for kind, order in sorted(axes.reuses):
        if kind == "output":
            yield _cached("F" * (order + 1), "n", num=4 * DESIGN_STEPS, order=order)


def _reusing(layouts: Sequence[Graph], axes: Axes, target: Target) -> Iterator[Plan]:
    """Plans that reuse a residual or modules' outputs at most steps, and one of each kind that leaves it as often."""
    dense = layouts[0]
    for reuse, kind in (("span", "residual"), ("modules", "modules")):
        orders = sorted(order for one, order in axes.reuses if one == kind)
        for order in orders:
            first = 1 if kind == "residual" else 0
            sampling = _cached("F" * (order + 1), "p", order=order, reuse=reuse, first=first)
            for graph in layouts if kind == "modules" else (dense,):
                yield repeated(graph, sampling, target)
        for order in orders[:1]:
            yield repeated(dense, _cached("F" * order, "Fp", order=order, reuse=reuse), target)


def _cached(begun: str, repeats: str, *, num: int = 2 * DESIGN_STEPS, **options: Any) -> Sampling:
    """A sampling whose pattern begins in one way and goes on in another."""
    pattern = (begun + repeats * num)[:num]
    return Sampling(steps=num, cache=Cache(pattern=pattern, **options))

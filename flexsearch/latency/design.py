"""Plans that are timed to tell operations apart, and the plan of the dense base. Needs no torch.

The design: no blocks at all (the step by itself) and all blocks dense, each under two numbers of steps; every layout
that a family names in `Segment.designs`, once per sparse grid where it works on sparse tokens; and all blocks of every
other operation on dense tokens, such as one that is computed in part.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families import Segment
from flexsearch.schedule.plan import Plan, Target, lower, stage_graphs
from flexsearch.schedule.role import Operation
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.step import Graph
from flexsearch.schedule.timetable import Timetable

DESIGN_STEPS = 4
"""Sampler steps of a designed plan; those without blocks and with dense ones have a second number too."""


def dense_plan(target: Target, sampling: Sampling) -> Plan:
    """Lower the dense base."""
    return lower(Candidate(schedule=DensitySchedule.all_dense(target.shape.num_blocks), sampling=sampling), target)


def model_calls(plan: Plan) -> int:
    """Count the model calls of one image."""
    return sum(plan.counts.values())


def repeated(graph: Graph, num: int, target: Target) -> Plan:
    """Give a plan that computes one graph at each of `num` sampler steps, also one that no schedule lowers to.

    Its candidate is the dense base's, whose times it visits.
    """
    dense = dense_plan(target, Sampling(steps=num))
    return replace(dense, steps=tuple(step._replace(graph=graph) for step in dense.steps))


def designed_plans(
    target: Target,
    *,
    families: Iterable[type[Segment]],
    timetables: Sequence[Timetable],
    operations: Iterable[Operation],
) -> list[Plan]:
    """Give plans whose times tell operations apart.

    Args:
        target: what is timed.
        families: whose roles are wanted.
        timetables: of one stage each, one per sparse grid.
        operations: that are wanted; those on dense tokens that no family's design holds get a plan of their own.
    """
    shape = target.shape

    def graphs_of(*segments: Segment) -> Iterable[Graph]:
        schedules = [DensitySchedule(segments=segments, timetable=one) for one in timetables or (Timetable(),)]
        for schedule in dict.fromkeys(schedules):  # without sparse tokens all are equal
            yield from stage_graphs(schedule, shape.grid, num_blocks=shape.num_blocks, rows=target.rows)

    (dense,) = dense_plan(target, Sampling(steps=1)).graphs
    designed = [one for family in families for layout in family.designs(shape.num_blocks) for one in graphs_of(*layout)]
    held = {operation.key for graph in (dense, *designed) for operation in graph.route}
    others = {one.key: one for one in operations if one.key not in held and one.queries == one.keys == shape.grid}
    for other in others.values():
        route = tuple(replace(other, block=block) for block in range(shape.num_blocks))
        designed.append(replace(dense, route=route))
    return [
        *(repeated(replace(dense, route=()), DESIGN_STEPS * factor, target) for factor in (1, 4)),
        *(repeated(dense, DESIGN_STEPS * factor, target) for factor in (1, 2)),
        *(repeated(graph, DESIGN_STEPS, target) for graph in dict.fromkeys(designed) if graph != dense),
    ]

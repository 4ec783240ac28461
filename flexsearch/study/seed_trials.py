"""Give schedules that a search is seeded with the rest of a trial: how they draw, which no gradient has learned.

Baselines have been measured by then, so each schedule draws as one of those on the front of the free ones: the densest
as the slowest, the sparsest as the fastest, the others at even distances between.
"""

import itertools
import math
import random
from collections.abc import Mapping, Sequence

from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.space.domains import Value, corners
from flexsearch.space.search_space import SearchSpace
from flexsearch.study.baselines import is_fine_tuned
from flexsearch.study.pareto import non_dominated
from flexsearch.study.store import TrialRecord

_MOST_LISTED = 4096
Parameters = Mapping[str, Value]


def seed_trials(
    seeds: Sequence[Parameters], space: SearchSpace, records: Sequence[TrialRecord], *, objectives: Sequence[str]
) -> list[Parameters]:
    """Give the parameters of the trials that are still to be made of the seeds.

    Args:
        seeds: parameters of schedules, densest first.
        space: that they are of.
        records: the trials so far; the baselines have ended, and schedules that were searched are passed over.
        objectives: names of the measurements, quality and latency.
    """
    samplings = _free_samplings(space, records, objectives=objectives)
    searched = {one.candidate.schedule.digest for one in records if one.baseline is None}
    found: list[Parameters] = []
    for index, seed in enumerate(seeds):
        drawn = space.sample(random.Random(index))
        place = round(index * (len(samplings) - 1) / max(len(seeds) - 1, 1))
        parameters = {**drawn, **(samplings[place] if samplings else {}), **seed}
        if space.build(parameters).schedule.digest not in searched:
            found.append(parameters)
    return found


def _free_samplings(
    space: SearchSpace, records: Sequence[TrialRecord], *, objectives: Sequence[str]
) -> list[dict[str, Value]]:
    """Parameters of sampling that the space shares with the front of the free baselines, slowest first."""
    listed = _listed(space)
    free = [
        one
        for one in records
        if one.state == "complete"
        and one.baseline is not None
        and one.candidate.schedule.is_dense
        and not is_fine_tuned(one.baseline)
        and one.candidate.digest in listed
    ]
    front = non_dominated(free, lambda one: [one.measurements[name].value for name in objectives])
    front.sort(key=lambda one: -one.measurements[objectives[1]].value)
    return [listed[one.candidate.digest] for one in front]


def _listed(space: SearchSpace) -> dict[str, dict[str, Value]]:
    """The choices of sampling, by the digest of the dense base that draws so; of very many, some."""
    domains, dense = dict(space.sampling.domains), DensitySchedule.all_dense(space.num_blocks)
    columns = {name: corners(domain) for name, domain in domains.items()}
    drawn = space.sample(random.Random(0))
    if math.prod(map(len, columns.values())) <= _MOST_LISTED:
        rows = [dict(zip(columns, row, strict=True)) for row in itertools.product(*columns.values())]
    else:
        draws = (space.sample(random.Random(index)) for index in range(_MOST_LISTED))
        rows = [{name: draw[name] for name in columns} for draw in draws]
    found: dict[str, dict[str, Value]] = {}
    for row in rows:
        sampling = space.build({**drawn, **row}).sampling
        found.setdefault(Candidate(schedule=dense, sampling=sampling).digest, row)
    return found

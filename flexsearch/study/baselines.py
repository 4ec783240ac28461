"""What every search is compared with: the dense base, the dense base at fewer sampler steps, the paper's schedule."""

from flexsearch.errors import UserError
from flexsearch.schedule.density import Candidate, DensitySchedule
from flexsearch.schedule.presets import paper_schedule
from flexsearch.space.domains import Float
from flexsearch.space.search_space import SearchSpace
from flexsearch.study.search import Baseline
from flexsearch.study.settings import SearchSettings

MOST_STEPS = 6


def baseline_steps(space: SearchSpace, settings: SearchSettings) -> list[int]:
    """Sampler steps of the dense base, most first: the configured ones, or those of the space, at most six."""
    steps = list(settings.baseline_steps)
    domain = space.domains.get("sampler_steps")
    if not steps and domain is None:
        steps = [int(space.constants["sampler_steps"] or 1)]
    elif not steps and domain is not None and not isinstance(domain, Float):
        steps = [int(value or 1) for value in domain.values]
    steps = sorted(set(steps), reverse=True)
    if len(steps) <= MOST_STEPS:
        return steps
    return [steps[round(index * (len(steps) - 1) / (MOST_STEPS - 1))] for index in range(MOST_STEPS)]


def baselines_of(space: SearchSpace, settings: SearchSettings) -> list[Baseline]:
    """The baselines of a search, the dense base first; the paper's schedule runs at the most steps."""
    steps = baseline_steps(space, settings)
    dense = DensitySchedule.all_dense(space.num_blocks)
    baselines = [
        Baseline(
            name="dense" if index == 0 else f"dense, {num} steps",
            candidate=Candidate(schedule=dense, sampler_steps=num),
            fine_tuned=False,
        )
        for index, num in enumerate(steps)
    ]
    try:
        paper = paper_schedule(num_blocks=space.num_blocks, grid=space.grid)
    except UserError:  # fewer than five blocks: the paper's layout does not exist
        return baselines
    candidate = Candidate(schedule=paper, sampler_steps=steps[0])
    return [*baselines, Baseline(name="FlexDiT paper", candidate=candidate, fine_tuned=True)]

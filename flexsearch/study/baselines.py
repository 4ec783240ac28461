"""Baselines of every search: the dense base, the dense base at fewer sampler steps, the paper's schedules."""

from flexsearch.errors import UserError
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.presets import PRESETS, paper_schedule
from flexsearch.schedule.sampling import Sampling
from flexsearch.space.search_space import SearchSpace
from flexsearch.study.repeats import evenly
from flexsearch.study.search import Baseline
from flexsearch.study.settings import SearchSettings

MOST_STEPS = 6


def baseline_steps(space: SearchSpace, settings: SearchSettings) -> list[int]:
    """Pick sampler steps of the dense base, most first: the configured ones, or those of the space, at most six."""
    return evenly(sorted(set(settings.baseline_steps or space.steps), reverse=True), MOST_STEPS)


def baselines_of(space: SearchSpace, settings: SearchSettings) -> list[Baseline]:
    """List the baselines, the dense base first; the paper's schedules run at `paper_steps`, by default the most.

    "FlexDiT paper" is its r in [0.61, 0.86] schedule, scaled to this model; where the paper has others for just this
    model, they follow under their names.
    """
    steps = baseline_steps(space, settings)
    dense = DensitySchedule.all_dense(space.num_blocks)
    baselines = [
        Baseline(
            name="dense" if index == 0 else f"dense, {num} steps",
            candidate=Candidate(schedule=dense, sampling=Sampling(steps=num)),
            fine_tune=False,
        )
        for index, num in enumerate(steps)
    ]
    try:
        paper = paper_schedule(num_blocks=space.num_blocks, grid=space.grid)
    except UserError:  # fewer than five blocks: the paper's layout does not exist
        return baselines
    schedules = {"FlexDiT paper": paper}
    schedules |= {
        name: preset.schedule
        for name, preset in PRESETS.items()
        if preset.shape == space.target.shape and preset.schedule != paper
    }
    return baselines + [
        Baseline(
            name=name if index == 0 else f"{name}, {num} steps",
            candidate=Candidate(schedule=schedule, sampling=Sampling(steps=num)),
            fine_tune=True,
        )
        for name, schedule in schedules.items()
        for index, num in enumerate(sorted(set(settings.paper_steps), reverse=True) or steps[:1])
    ]

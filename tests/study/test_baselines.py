"""What a search is compared with."""

from flexsearch.schedule.plan import Target
from flexsearch.schedule.presets import dit_shape
from flexsearch.space.search_space import SearchSpace
from flexsearch.study.baselines import baselines_of
from flexsearch.study.settings import SearchSettings

TARGET = Target(shape=dit_shape(num_blocks=8, width=16, side=8))


def test_the_papers_schedule_runs_at_the_most_steps_or_where_it_is_told(space: SearchSpace) -> None:
    once = baselines_of(space, SearchSettings())
    assert [(one.name, one.candidate.sampling.steps) for one in once] == [
        ("dense", 4),
        ("dense, 2 steps", 2),
        ("FlexDiT paper", 4),
    ]
    curve = baselines_of(space, SearchSettings(paper_steps=(2, 4, 2)))
    assert [(one.name, one.candidate.sampling.steps) for one in curve[2:]] == [
        ("FlexDiT paper", 4),
        ("FlexDiT paper, 2 steps", 2),
    ]
    assert len({one.candidate.schedule for one in curve[2:]}) == 1

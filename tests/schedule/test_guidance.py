"""Guidance rows: which steps compute the row without a condition."""

import pytest

from flexsearch.errors import UserError
from flexsearch.schedule import (
    Candidate,
    DensitySchedule,
    GuidanceRows,
    Sampling,
    Step,
    Target,
    lower,
)
from flexsearch.schedule.presets import dit_shape

SHAPE = dit_shape(num_blocks=6, width=16, side=8)


def steps_of(guidance: GuidanceRows, *, is_guided: bool = True, num: int = 10) -> tuple[Step, ...]:
    candidate = Candidate(schedule=DensitySchedule.all_dense(6), sampling=Sampling(steps=num, guidance=guidance))
    return lower(candidate, Target(shape=SHAPE, is_guided=is_guided)).steps


def test_an_interval_leaves_one_row_outside() -> None:
    steps = steps_of(GuidanceRows(start=0.25, end=0.75))
    assert [step.time for step in steps if step.is_guided] == pytest.approx([0.7, 0.6, 0.5, 0.4, 0.3])
    assert all(step.graph.rows == (2 if step.is_guided else 1) for step in steps)


def test_every_nth_guided_step_computes_both_rows() -> None:
    steps = steps_of(GuidanceRows(end=0.85, every=3))
    assert [step.graph.rows for step in steps] == [1, 1, 2, 1, 1, 2, 1, 1, 2, 1]
    assert [step.is_guided for step in steps] == [False, False] + [True] * 8


def test_one_row_costs_half() -> None:
    def macs(steps: tuple[Step, ...]) -> int:
        return sum(step.graph.macs(SHAPE) for step in steps)

    both = macs(steps_of(GuidanceRows()))
    assert macs(steps_of(GuidanceRows(every=2))) * 4 == 3 * both
    assert macs(steps_of(GuidanceRows(), is_guided=False)) * 2 == both
    assert steps_of(GuidanceRows(every=2), is_guided=False) == steps_of(GuidanceRows(), is_guided=False)


def test_an_interval_has_two_ends() -> None:
    with pytest.raises(UserError, match=r"from: from <= to must hold, but got \[0.8, 0.2\]"):
        GuidanceRows(start=0.8, end=0.2)

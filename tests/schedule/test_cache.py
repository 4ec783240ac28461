"""Reuse over steps: which steps are full, what the others take, and what equal choices share."""

from itertools import product

import pytest

from flexsearch.errors import UserError
from flexsearch.schedule import (
    Cache,
    Candidate,
    Dense,
    DensitySchedule,
    GuidanceRows,
    Plan,
    Pooling,
    Sampling,
    Sdtm,
    Target,
    Timetable,
    lower,
)
from flexsearch.schedule.presets import dit_shape
from flexsearch.schedule.timetable import equal_edges

SHAPE = dit_shape(num_blocks=6, width=16, side=8)
DENSE = DensitySchedule.all_dense(6)
SPARSE = DensitySchedule(
    segments=(Pooling(depth=1), Sdtm(sparse=1, dense=1), Dense(depth=1)),
    timetable=Timetable(edges=equal_edges(2), grids=(5, 3)),
)


def plan(cache: Cache, *, steps: int = 6, schedule: DensitySchedule = DENSE, is_guided: bool = False) -> Plan:
    sampling = Sampling(steps=steps, cache=cache)
    return lower(Candidate(schedule=schedule, sampling=sampling), Target(shape=SHAPE, is_guided=is_guided))


def letters(found: Plan) -> str:
    return "".join(step.letter for step in found.steps)


@pytest.mark.parametrize(("steps", "interval"), [*product((4, 6, 7, 10, 12), (1, 2, 3, 4))])
def test_an_even_pattern_is_that_of_fora(steps: int, interval: int) -> None:
    """FORA computes every n-th step in full, the first among them; as many steps here, and no longer gap."""
    fora = "".join("F" if step % interval == 0 else "p" for step in range(steps))
    found = Cache(full=fora.count("F") / steps).of(steps)
    assert found.count("F") == fora.count("F")
    assert max(map(len, found.split("F"))) <= max(map(len, fora.split("F")))
    if steps % interval == 0:
        assert found == fora


@pytest.mark.parametrize(
    ("steps", "cache", "expected"),
    [
        (6, Cache(full=0.5, warmup=2, skew=1.0), "FFpFpp"),
        (6, Cache(full=0.5, warmup=2, skew=1.0, nulls=0.5), "FFpFpn"),
        (6, Cache(full=0.5, warmup=2, skew=1.0, nulls=1.0), "FFnFnn"),
        (7, Cache(full=0.57, warmup=2), "FFpFpFp"),
        (10, Cache(full=0.5), "FpFpFpFpFp"),
        (10, Cache(full=0.4, ends=1), "FppFppFppF"),
        (5, Cache(full=0.2), "Fpppp"),
        (5, Cache(full=1.0, warmup=3, ends=1), "FFFFF"),
        (3, Cache(full=0.34, warmup=3, ends=1), "FFF"),
    ],
)
def test_patterns(steps: int, cache: Cache, expected: str) -> None:
    assert cache.of(steps) == expected
    assert letters(plan(cache, steps=steps)) == expected


def test_every_choice_gives_a_pattern() -> None:
    for steps, full, warmup, ends, skew, null in product(
        (1, 2, 5, 10), (0.1, 0.34, 0.5, 1.0), (1, 2, 3), (0, 1), (0.0, 0.5, 1.0), (0.0, 0.5, 1.0)
    ):
        cache = Cache(full=full, warmup=warmup, ends=ends, skew=skew, nulls=null)  # type: ignore[arg-type]
        found = cache.of(steps)
        assert len(found) == steps
        assert found.count("F") == min(steps, max(round(full * steps), warmup + ends))
        assert found.startswith("F" * min(warmup, steps))
        assert not ends or found.endswith("F")


def test_what_does_the_same_shares_a_digest() -> None:
    def digest(cache: Cache, steps: int = 6) -> str:
        return Candidate(schedule=DENSE, sampling=Sampling(steps=steps, cache=cache)).digest

    plain = digest(Cache())
    assert digest(Cache(full=0.9, warmup=3, first=2, order=0)) != plain
    assert digest(Cache(full=0.95, skew=1.0)) == plain, "six steps of six are full"
    assert digest(Cache(full=0.5, first=4, last=2)) == plain, "all blocks are computed"
    assert digest(Cache(full=0.5, warmup=2, skew=1.0)) == digest(Cache(pattern="FFpFpp"))
    assert digest(Cache(pattern="FFnFnn", first=2)) == digest(Cache(pattern="FFnFnn", reuse="modules"))
    different = [Cache(pattern="FFpFpp"), Cache(pattern="FFpFpp", first=2), Cache(pattern="FFpFpp", last=1)]
    different += [Cache(pattern="FFpFpp", order=0), Cache(pattern="FFpFpp", reuse="modules"), Cache(pattern="FFpFpn")]
    assert len({digest(one) for one in different}) == len(different)


def test_a_pattern_has_as_many_letters_as_steps() -> None:
    with pytest.raises(UserError, match=r"cache.pattern: must have 5 letters, but got 'FFp'"):
        plan(Cache(pattern="FFp"), steps=5)
    with pytest.raises(UserError, match="begin with F"):
        Cache(pattern="pFF")


def test_steps_leave_what_later_ones_read() -> None:
    found = plan(Cache(pattern="FFpFFp", first=1))
    assert [step.graph.leaves for step in found.steps] == ["residual", "residual", None, "residual", "residual", None]
    found = plan(Cache(pattern="FFpFFp", first=1, order=0))
    assert [step.graph.leaves for step in found.steps] == [None, "residual", None, None, "residual", None]
    found = plan(Cache(pattern="FFnFFn"))
    assert {step.graph.leaves for step in found.steps} == {None}, "outputs are kept by the loop"
    assert [operation.block for operation in plan(Cache(pattern="Fp", first=1, last=2), steps=2).steps[1].route] == [
        0,
        4,
        5,
    ]


def test_extrapolation_is_linear_in_diffusion_time() -> None:
    found = plan(Cache(pattern="FFpFpp", first=0))
    times = [step.time for step in found.steps]
    assert [step.theta for step in found.steps] == pytest.approx(
        [
            0,
            0,
            (times[2] - times[1]) / (times[1] - times[0]),
            0,
            (times[4] - times[3]) / (times[3] - times[1]),
            (times[5] - times[3]) / (times[3] - times[1]),
        ]
    )
    assert [step.graph.order for step in found.steps] == [0, 0, 1, 0, 1, 1]
    first = plan(Cache(pattern="Fpp"), steps=3)
    assert [step.graph.order for step in first.steps] == [0, 0, 0], "one full step gives no line"


def test_a_span_never_cuts_through_waiting_dense_tokens() -> None:
    """P M s R D D: blocks 1 and 2 hold sparse tokens, so a span begins or ends below or above them."""
    caches = {first: Cache(pattern="FpFpFp", first=first) for first in range(6)}
    spans = {first: plan(cache, schedule=SPARSE).steps[1].graph.span for first, cache in caches.items()}
    assert spans == {0: (0, 6), 1: (1, 6), 2: (1, 6), 3: (1, 6), 4: (4, 6), 5: (5, 6)}
    last = plan(Cache(pattern="FpFpFp", first=0, last=4), schedule=SPARSE).steps[1].graph
    assert last.span == (0, 1)
    assert letters(plan(Cache(pattern="FpFpFp", first=1, last=4), schedule=SPARSE)) == "FFFFFF", "nothing is between"


def test_modules_are_reused_within_a_stage_only() -> None:
    """Their outputs have the stage's tokens; a residual lies on dense tokens, which all stages share."""
    found = plan(Cache(pattern="FpppppFp", first=0, reuse="modules"), steps=8, schedule=SPARSE)
    assert [step.stage for step in found.steps] == [1, 1, 1, 1, 1, 0, 0, 0]
    assert letters(found) == "FppppFFp"
    assert [step.graph.order for step in found.steps] == [0, 0, 0, 0, 0, 0, 0, 1]
    assert letters(plan(Cache(pattern="FpppppFp", first=0), steps=8, schedule=SPARSE)) == "FpppppFp"


def test_a_step_with_both_rows_reuses_none_that_has_one() -> None:
    sampling = Sampling(steps=6, cache=Cache(pattern="FpFpFp", first=0), guidance=GuidanceRows(every=2))
    steps = lower(Candidate(schedule=DENSE, sampling=sampling), Target(shape=SHAPE, is_guided=True)).steps
    assert [step.graph.rows for step in steps] == [2, 2, 1, 1, 2, 2]
    assert [step.graph.order for step in steps] == [0, 0, 0, 1, 0, 0]


def test_macs_are_those_of_the_blocks_that_are_computed() -> None:
    full = plan(Cache(), steps=1).macs
    assert plan(Cache(pattern="FFnFnn")).macs == 3 * full
    partial = plan(Cache(pattern="FFpFpp", first=1)).macs - 3 * full
    assert 0 < partial < 3 * full / 6 + 3 * full / 20, "a block of six, and the ends"
    assert plan(Cache(), steps=1, is_guided=True).macs == 2 * full


def test_planned_masks_take_as_many_full_steps_and_keep_null_steps() -> None:
    cache = Cache(full=0.5, nulls=0.5, first=2, order=0, mask="planned")
    masks = {3: "FFFppp", 6: "FFFFFF"}
    assert cache.planned(6, masks) == Cache(pattern="FFFpnn", first=2, order=0)
    assert cache.planned(6, None) == Cache(pattern=cache.of(6), first=2, order=0)

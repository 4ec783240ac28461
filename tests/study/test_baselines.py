"""What a search is compared with: the dense base with the best of what the space searches, and the paper's."""

from collections.abc import Callable
from typing import Any

import pytest

from flexsearch.schedule import Sampling, Target
from flexsearch.schedule.presets import dit_shape
from flexsearch.space import SearchSpace, parse_space
from flexsearch.study.baselines import Baseline, baselines_of, waves_of
from flexsearch.study.settings import SearchSettings

TARGET = Target(shape=dit_shape(num_blocks=8, width=16, side=8))
SOLVERS = {"base": 3.0, "unipc": 1.2, "ab2": 1.0, "heun": 2.0}


def test_the_papers_schedule_runs_at_the_most_steps_or_where_it_is_told(space: SearchSpace) -> None:
    once = baselines_of(space, SearchSettings())
    steps_of = {one.name: one.candidate.sampling.steps for one in once}
    assert list(steps_of.items()) == [("dense", 4), ("dense, 2 steps", 2), ("FlexDiT paper", 4)]
    curve = baselines_of(space, SearchSettings(paper_steps=(2, 4, 2)))
    assert [(one.name, one.candidate.sampling.steps) for one in curve[2:]] == [
        ("FlexDiT paper", 4),
        ("FlexDiT paper, 2 steps", 2),
    ]
    assert len({one.candidate.schedule for one in curve[2:]}) == 1
    assert waves_of(space, SearchSettings()) == [], "steps are all that it searches"


def quality_of(sampling: Sampling) -> float:
    return 10 * SOLVERS[sampling.solver] * sampling.gain.stream / sampling.num_calls


def waves(
    space: SearchSpace, quality: Callable[[Sampling], float | None] = quality_of, **settings: Any
) -> list[list[Baseline]]:
    """Every wave, the first known before anything runs; a quality of None is a baseline that fails."""
    settings_ = SearchSettings(**settings)
    found, results = [baselines_of(space, settings_)], {}
    for wave in waves_of(space, settings_):
        for one in found[-1]:
            if (value := quality(one.candidate.sampling)) is not None and one.candidate.schedule.is_dense:
                results[one.candidate.digest] = value
        known = {one.candidate.digest for of_wave in found for one in of_wave}
        found.append([one for one in wave(results) if one.candidate.digest not in known])
    return found


def names(found: list[list[Baseline]]) -> list[list[str]]:
    return [[one.name for one in wave] for wave in found]


def test_the_dense_base_gets_the_best_of_the_space(sampling_space: SearchSpace) -> None:
    found = waves(sampling_space)
    assert names(found) == [
        ["dense-10", "dense-7", "dense-5", "dense-4", "dense-3", "dense-5-unipc", "dense-5-ab2", "paper-10"],
        ["dense-10-ab2", "dense-7-ab2", "dense-4-ab2", "dense-3-ab2"],
        ["dense-5-ab2-gain0.95@4", "dense-5-ab2-gain0.9@4"],
        [
            *(f"dense-{steps}-ab2-gain0.9@4" for steps in (10, 7, 4, 3)),
            *("fora2-10-ab2", "fora2-7-ab2", "fora3-10-ab2", "fora3-7-ab2", "paper-10-ab2"),
        ],
    ]
    everything = [one for wave in found for one in wave]
    assert len({one.name for one in everything}) == len({one.candidate.digest for one in everything}) == 23
    patterns = {
        one.name: "".join(step.letter for step in sampling_space.plan(one.candidate).steps)
        for one in everything
        if one.name.startswith("fora")
    }
    assert patterns["fora2-10-ab2"] == "FpFpFpFpFp"
    assert {name: pattern.count("F") for name, pattern in patterns.items()} == {
        "fora2-10-ab2": 5,
        "fora2-7-ab2": 4,
        "fora3-10-ab2": 4,
        "fora3-7-ab2": 3,
    }


def test_which_is_best_is_measured(sampling_space: SearchSpace) -> None:
    def other(sampling: Sampling) -> float:
        return quality_of(sampling) / sampling.gain.stream**2 * (0.5 if sampling.solver == "unipc" else 1.0)

    _, curve, gains, last = names(waves(sampling_space, other))
    assert curve == [f"dense-{steps}-unipc" for steps in (10, 7, 4, 3)]
    assert gains == ["dense-5-unipc-gain0.95@4", "dense-5-unipc-gain0.9@4"]
    assert not any("gain" in name for name in last), "no gain is better than none"
    assert last[-1] == "paper-10-unipc"


def test_a_base_that_is_best_by_itself_keeps_its_solver(sampling_space: SearchSpace) -> None:
    found = names(waves(sampling_space, lambda one: quality_of(one) / (9 if one.solver == "base" else 1)))
    assert found[1] == [f"dense-{steps}-ab2" for steps in (10, 7, 4, 3)]
    assert found[2] == ["dense-5-gain0.95@4", "dense-5-gain0.9@4"]
    assert found[3][4:] == ["fora2-10", "fora2-7", "fora3-10", "fora3-7"], "the paper's has run under it"


def test_baselines_that_fail_are_done_without(sampling_space: SearchSpace) -> None:
    found = names(waves(sampling_space, lambda one: None if one.solver == "ab2" else quality_of(one)))
    assert found[1] == [f"dense-{steps}-unipc" for steps in (10, 7, 4, 3)]
    assert names(waves(sampling_space, lambda _: None))[1:] == [[], [], []]


def of(**entries: Any) -> SearchSpace:
    segments = [{"family": "pooling", "depth": {"int": [1, 3]}}, {"family": "dense", "depth": "rest"}]
    return parse_space({"segments": segments, "sampler_steps": {"choice": [4, 6, 8]}, **entries}, target=TARGET)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"solver": {"choice": ["base", "heun"]}}, ["dense-8-heun", "dense-6-heun", "dense-4-heun", "paper-8-heun"]),
        ({"solver": "ab2"}, ["dense-8-ab2", "dense-4-ab2", "paper-8-ab2"]),
        ({"gain": {"stream": {"float": [0.8, 1.0]}, "at": 2}}, ["dense-6-gain0.8@2", "dense-8-gain0.8@2"]),
        ({"gain": {"skip": {"choice": [0.9, 1.0]}}}, []),
        ({"cache": {"full": {"choice": [0.5, 1.0]}}}, ["fora2-8", "fora2-6", "fora3-8", "fora3-6"]),
    ],
)
def test_each_axis_has_its_own_baselines(entries: dict[str, Any], expected: list[str]) -> None:
    further = [name for wave in names(waves(of(**entries)))[1:] for name in wave]
    assert further[: len(expected)] == expected
    assert bool(further) == bool(expected)


def test_the_dense_base_gets_the_best_shift() -> None:
    def quality(sampling: Sampling) -> float:
        return quality_of(sampling) * (1 + abs(sampling.shift - 2))

    several = {"solver": "ab2", "shift": {"choice": [1.0, 2.0, 3.0]}}
    _, shifts, curve, _, last = names(waves(of(**several), quality))
    assert shifts == ["dense-6-ab2-shift2", "dense-6-ab2-shift3"]
    assert curve == ["dense-8-ab2-shift2", "dense-4-ab2-shift2"]
    assert last == ["paper-8-ab2-shift2"]
    first, curve, *_ = names(waves(of(solver="ab2", shift=1.5), quality))
    assert first == ["dense-8", "dense-6", "dense-4", "dense-6-ab2-shift1.5", "paper-8"], "one shift is settled"
    assert curve == ["dense-8-ab2-shift1.5", "dense-4-ab2-shift1.5"]
    first, shifts, curve, *_ = names(waves(of(shift={"choice": [1.0, 2.0]}), quality))
    assert (first[:3], shifts, curve) == (
        ["dense-8", "dense-6", "dense-4"],
        ["dense-6-shift2"],
        ["dense-8-shift2", "dense-4-shift2"],
    )


def test_the_dense_base_begins_as_the_space_may() -> None:
    def quality(sampling: Sampling) -> float:
        best_gain = 0.8 if sampling.start == "mean" else 0.9
        best_shift = 1.0 if sampling.start == "mean" else 2.0
        start = 0.5 if sampling.start == "mean" else 1.0
        return (
            SOLVERS[sampling.solver]
            * start
            * (1 + abs(sampling.gain.stream - best_gain))
            * (1 + abs(sampling.shift - best_shift))
        )

    axes = {
        "solver": "ab2",
        "shift": {"choice": [1.0, 2.0]},
        "gain": {"stream": {"choice": [0.8, 0.9]}, "at": 2},
        "start": {"choice": ["model", "mean"]},
    }
    *_, middle, curve = names(waves(of(**axes), quality, baseline_steps=(8, 6, 4, 1)))
    assert middle == [
        "dense-4-ab2-shift2-mean-gain0.9@2",
        "dense-4-ab2-mean-gain0.9@2",
        "dense-4-ab2-shift2-mean",
        "dense-4-ab2-shift2-mean-gain0.8@2",
    ], "as the best without a start, then another shift, then other gains"
    dense = [f"dense-{steps}-ab2-mean-gain0.9@2" for steps in (8, 6)]
    assert curve == [*dense, "paper-8-ab2-mean"], "one step has none to follow"
    *_, curve = names(waves(of(**axes), quality, baseline_steps=(8, 6, 4, 1), paper_steps=(3, 1)))
    assert curve == [*dense, "paper-3-ab2-mean"]


def test_a_start_alone_is_an_axis() -> None:
    first, *further = names(waves(of(start="gaussian")))
    assert first == ["dense-8", "dense-6", "dense-4", "paper-8"]
    assert further[-2:] == [["dense-6-gaussian"], ["dense-8-gaussian", "dense-4-gaussian", "paper-8-gaussian"]]


def test_solvers_are_compared_at_equal_calls() -> None:
    (heun,) = [
        one for one in baselines_of(of(solver={"choice": ["base", "heun"]}), SearchSettings()) if "heun" in one.name
    ]
    assert (heun.candidate.sampling.steps, heun.candidate.sampling.num_calls) == (3, 5)


def test_many_gains_are_picked_evenly() -> None:
    space = of(gain={"stream": {"choice": [0.8, 0.85, 0.9, 0.95]}, "at": {"choice": [2, 4, 6]}})
    gains = waves(space)[2]
    assert len(gains) == 6
    assert (gains[0].name, gains[-1].name) == ("dense-6-gain0.8@2", "dense-6-gain0.95@6")

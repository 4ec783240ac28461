"""The extremes of a space, from few of its candidates, are those of all."""

from typing import Any

import pytest

from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.plan import Target
from flexsearch.schedule.presets import dit_shape
from flexsearch.space import parse_space
from flexsearch.space.extremes import extremes

TARGET = Target(shape=dit_shape(num_blocks=12, width=16, side=8))
SEGMENTS: list[dict[str, Any]] = [
    {"family": "pooling", "depth": {"int": [1, 4]}},
    {"family": "sdtm", "repeat": {"int": [1, 2]}, "sparse": "rest", "dense": {"choice": [0, 1]}},
    {"family": "dense", "depth": {"int": [1, 2]}},
]
TIMETABLE = {"stages": 2, "clean_grid": {"choice": [3, 4, 5]}, "noise_grid": {"choice": [2, 3, 4]}}
CACHE = {"full": {"choice": [1.0, 0.75, 0.5]}, "nulls": {"choice": [0, 1]}}


@pytest.mark.parametrize(
    "entries",
    [
        {"segments": [*SEGMENTS[2:], {"family": "pooling", "depth": "rest"}], "sampler_steps": 4},
        {"segments": SEGMENTS, "timetable": TIMETABLE, "sampler_steps": {"choice": [4, 7, 10]}},
        {"segments": SEGMENTS, "timetable": TIMETABLE, "sampler_steps": 8, "cache": CACHE},
        {"dense": {"choice": [True, False]}, "segments": SEGMENTS, "timetable": TIMETABLE, "sampler_steps": 3},
    ],
    ids=["small", "schedules", "reuse", "dense-too"],
)
def test_they_are_those_of_all_candidates(entries: dict[str, Any]) -> None:
    space = parse_space(entries, target=TARGET)
    asked: list[Candidate] = []

    def macs(candidate: Candidate) -> float:
        asked.append(candidate)
        return space.plan(candidate).macs

    found = extremes(space, macs)
    assert len(asked) <= 300
    every = [space.plan(space.build(choice)).macs for choice in space.choices()]
    assert found == (min(every), max(every))


def test_ends_of_a_continuous_domain_are_asked() -> None:
    entries = {"segments": [{"family": "dense", "depth": "rest"}], "sampler_steps": 4}
    space = parse_space({**entries, "gain": {"stream": {"float": [0.5, 0.9]}, "at": 2}}, target=TARGET)
    assert extremes(space, lambda one: one.sampling.gain.stream) == (0.5, 0.9)

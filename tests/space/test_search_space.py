"""Search spaces: every choice is a valid schedule, and what cannot be is refused with the field's path."""

import pickle
import random
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import pytest
from annotated_types import Ge, Le

from flexsearch.errors import UserError
from flexsearch.schedule.cache import Cache
from flexsearch.schedule.clock import Clock
from flexsearch.schedule.families import segment
from flexsearch.schedule.families.dense import Dense
from flexsearch.schedule.gain import Gain
from flexsearch.schedule.plan import Target
from flexsearch.schedule.presets import dit_shape, paper_schedule
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import TokenGrid
from flexsearch.settings import PositiveCount
from flexsearch.space import SearchSpace, parse_space
from flexsearch.space.domains import Choice, Float
from flexsearch.space.searched import parse_searched

GRID = TokenGrid(height=8, width=8)
TARGET = Target(shape=dit_shape(num_blocks=12, width=16, side=8))
SEGMENTS: list[dict[str, Any]] = [
    {"family": "pooling", "depth": {"int": [1, 4]}},
    {"family": "sdtm", "repeat": {"int": [1, 2]}, "sparse": "rest", "dense": {"choice": [0, 1]}},
    {"family": "dense", "depth": {"int": [1, 2]}},
]
ENTRIES: dict[str, Any] = {
    "segments": SEGMENTS,
    "timetable": {"stages": 2, "clean_grid": {"choice": [3, 4, 5]}, "noise_grid": {"choice": [2, 3, 4]}},
    "sampler_steps": {"choice": [4, 7, 10]},
}


def parsed(**changes: Any) -> SearchSpace:
    return parse_space({**ENTRIES, **changes}, target=TARGET)


def test_every_choice_lowers_to_a_valid_plan() -> None:
    space = parsed()
    choices = list(space.choices())
    assert len(choices) == space.size == 4 * 2 * 2 * 2 * 3 * 3 * 3
    for choice in choices:
        candidate = space.build(choice)
        plan = space.plan(candidate)
        assert all(len(step.route) == 12 for step in plan.steps)
        assert len(plan.steps) == choice["sampler_steps"]
        assert candidate.sampling.steps == choice["sampler_steps"]


def test_widths_are_searched_by_segment() -> None:
    """Every choice is valid; the space is not free, and its stages need no grids."""
    target = Target(shape=dit_shape(num_blocks=6, width=256, side=8))
    segments = [
        {"family": "pooling", "depth": {"int": [0, 1]}, "width": {"clean_hidden": {"choice": [4, 8]}}},
        {"family": "dense", "depth": "rest", "width": {"clean_heads": {"choice": [4, 8]}, "noise_hidden": 6}},
    ]
    space = parse_space({"segments": segments, "timetable": {"stages": 2}, "sampler_steps": 4}, target=target)
    assert list(space.domains) == ["pooling.depth", "pooling.width.clean_hidden", "dense.width.clean_heads"]
    found = [space.build(choice).schedule for choice in space.choices()]
    assert {str(one) for one in found} == {
        "DDDDDD hidden 8,6/8 in 0-5",
        "DDDDDD heads 4/8 hidden 8,6/8 in 0-5",
        "PDDDDD hidden 8,6/8 in 1-5",
        "PDDDDD hidden 4/8 in 0-0 hidden 8,6/8 in 1-5",
        "PDDDDD heads 4/8 hidden 8,6/8 in 1-5",
        "PDDDDD hidden 4/8 in 0-0 heads 4/8 hidden 8,6/8 in 1-5",
    }
    assert space.narrows
    assert not space.is_dense
    assert len(list(space.layouts())) == 2
    full = parse_space({"segments": [{"family": "dense", "depth": 6, "width": {"clean_heads": 8}}]}, target=target)
    assert full.is_dense


@pytest.mark.parametrize(
    ("width", "num_heads", "message"),
    [
        ({"clean_heads": {"int": [4, 8]}}, 4, r"width.clean_heads: must differ in whole heads, of which .* 4"),
        ({"clean_hidden": 4}, 0, r"width.clean_hidden: this base's blocks are computed whole"),
        ({"clean_hidden": 0}, 4, r"width.clean_hidden: must be at least 1"),
        ({"heads": 4}, 4, r"width.heads"),
    ],
)
def test_widths_that_cannot_be_are_named(width: dict[str, Any], num_heads: int, message: str) -> None:
    target = Target(shape=replace(dit_shape(num_blocks=6, width=256, side=8), num_heads=num_heads))
    with pytest.raises(UserError, match=message):
        parse_space({"segments": [{"family": "dense", "depth": 6, "width": width}]}, target=target)


def test_sparse_tokens_need_a_grid() -> None:
    with pytest.raises(UserError, match=r"timetable.clean_grid: is missing"):
        parsed(timetable={"stages": 2})


def test_draws_lie_in_the_space_and_are_reproducible() -> None:
    space = parsed()
    drawn = [space.sample(random.Random(seed)) for seed in range(300)]
    assert drawn == [space.sample(random.Random(seed)) for seed in range(300)]
    assert all(set(one) == set(space.domains) for one in drawn)
    for name, domain in space.domains.items():
        assert {one[name] for one in drawn} == set(domain.values or ())


def test_two_choices_may_be_one_schedule() -> None:
    space = parsed(timetable={"stages": 1, "clean_grid": 4, "noise_grid": {"choice": [2, 3]}})
    by_noise_grid = [
        {space.build(choice).digest for choice in space.choices() if choice["timetable.noise_grid"] == side}
        for side in (2, 3)
    ]
    assert by_noise_grid[0] == by_noise_grid[1]


def test_rest_is_spread_evenly_over_modules() -> None:
    space = parsed()
    segments = space.build(
        {
            "pooling.depth": 1,
            "sdtm.repeat": 2,
            "sdtm.dense": 0,
            "dense.depth": 2,
            "timetable.clean_grid": 4,
            "timetable.noise_grid": 2,
            "sampler_steps": 4,
        }
    ).schedule.segments
    assert [getattr(one, "sparse", None) for one in segments] == [None, 3, 2, None]


def test_a_module_may_be_left_out() -> None:
    module = {"family": "sdtm", "repeat": {"int": [0, 1]}, "sparse": 3, "dense": 0}
    space = parsed(segments=[{"family": "dense", "depth": "rest"}, module])
    found = {space.build(choice).schedule.roles for choice in space.choices()}
    dense, merged = ("dense",) * 12, ("dense",) * 7 + ("merge", "sparse", "sparse", "sparse", "recover")
    assert found == {dense, merged}
    assert all(space.build(one).schedule.is_dense for one in space.choices() if not one["sdtm.repeat"])


def test_time_edges_suit_every_schedule_and_the_paper() -> None:
    space = parsed(timetable={"stages": {"choice": [1, 3]}, "clean_grid": 4})
    edges = set(space.time_edges)
    assert set(paper_schedule(num_blocks=12, grid=GRID).timetable.edges) <= edges
    for choice in space.choices():
        assert set(space.build(choice).schedule.timetable.edges) <= edges


def test_roles_by_block_cover_the_space() -> None:
    space = parsed()
    roles = [space.build(choice).schedule.roles for choice in space.choices()]
    assert space.role_blocks() == {(role, block) for one in roles for block, role in enumerate(one)}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"segments": []}, r"space\.segments: must be a list"),
        ({"segments": SEGMENTS, "sampler_steps": 4}, r"space\.timetable\.clean_grid: is missing"),
        ({**ENTRIES, "sampler_stpes": 4}, r"space\.sampler_stpes: is not a known field; nearest legal: sampler_steps"),
        ({**ENTRIES, "sampler_steps": 0}, r"space\.sampler_steps: must be at least 1, but got 0; nearest legal: 1"),
        ({**ENTRIES, "sampler_steps": "rest"}, r"space\.sampler_steps: may not be rest"),
        ({**ENTRIES, "timetable": {"clean_grid": 9}}, r"space\.timetable\.clean_grid: must be in \[1, 8\], but got 9"),
        (
            {**ENTRIES, "timetable": {"clean_gird": 4}},
            r"space\.timetable\.clean_gird: is not a known field; nearest legal: clean_grid",
        ),
        ({"segments": [{"family": "dens", "depth": 12}]}, r"space\.segments\[0\]\.family: must be one of"),
        ({"segments": [{"family": "dense", "depth": {"int": [3, 1]}}]}, r"low <= high must hold, but got \[3, 1\]"),
        ({"segments": [{"family": "dense", "depth": {"int": [1, 2.5]}}]}, r"must be \[low, high\]"),
        ({"segments": [{"family": "dense", "depth": {"float": [1, 2]}}]}, r"must be a whole number, but got 1\.0"),
        ({"segments": [{"family": "dense", "depth": {"choice": []}}]}, r"at least one value"),
        ({"segments": [{"family": "dense", "depth": {"choice": [12, 12]}}]}, r"must not repeat"),
        ({"segments": [{"family": "dense", "depth": {"range": [1, 2]}}]}, r"exactly one key"),
        ({"segments": [{"family": "dense", "depth": 11}]}, r"must add up to exactly 12 blocks, but got 11"),
        (
            {"segments": [{"family": "dense", "depth": {"int": [12, 13]}}]},
            r"must add up to exactly 12 blocks, but got 13",
        ),
        (
            {"segments": [{"family": "pooling", "depth": "rest"}, {"family": "dense", "depth": "rest"}]},
            r"at most one depth may be rest",
        ),
        ({"segments": [{"family": "sdtm", "merge": "rest", "sparse": 1}]}, r"only sparse may be rest"),
        (
            {
                **ENTRIES,
                "segments": [{"family": "sdtm", "repeat": 0, "sparse": "rest"}, {"family": "dense", "depth": 11}],
            },
            r"must add up to exactly 12 blocks, but got 11",
        ),
        ({"segments": [{"family": "dense", "depth": True}]}, r"must be a whole number, but got True"),
    ],
)
def test_what_cannot_be_built_is_refused(entries: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_space(entries, target=TARGET)


VIDEO = TokenGrid(frames=16, height=8, width=8)


def video_target(grid: TokenGrid) -> Target:
    return Target(shape=replace(TARGET.shape, grid=grid))


def test_frames_are_searched_where_there_are_frames() -> None:
    entries = {**ENTRIES, "timetable": {**ENTRIES["timetable"], "frames": {"choice": [16, 8, 4]}}}
    space = parse_space(entries, target=video_target(VIDEO))
    for choice in space.choices():
        candidate = space.build(choice)
        frames = choice["timetable.frames"]
        assert candidate.schedule.timetable.frames == (None if frames == 16 else frames)
        merged = next(one for one in space.plan(candidate).steps[0].route if one.role == "merge")
        assert (merged.queries.frames, merged.keys.frames) == (frames, 16)


@pytest.mark.parametrize(
    ("grid", "frames", "message"),
    [
        (VIDEO, {"choice": [16, 5]}, r"timetable\.frames: frames must divide 16, but got 5; nearest legal: 4"),
        (VIDEO, 32, r"timetable\.frames: must be in \[1, 16\], but got 32; nearest legal: 16"),
        (GRID, 2, r"timetable\.frames: must be in \[1, 1\], but got 2; nearest legal: 1"),
    ],
)
def test_frames_must_divide_the_videos(grid: TokenGrid, frames: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_space({**ENTRIES, "timetable": {"clean_grid": 4, "frames": frames}}, target=video_target(grid))


def test_fields_of_every_declared_type_can_be_searched() -> None:
    """Numbers and names become domains by their declaration alone."""

    @dataclass(frozen=True, kw_only=True)
    class Axis:
        gain: Annotated[float, Ge(0), Le(2)] = 1.0
        kind: Literal["span", "modules"] = "span"
        every: PositiveCount = 1

    found = parse_searched(
        Axis, {"gain": {"float": [0.8, 1]}, "kind": {"choice": ["span", "modules"]}}, name="axis", field="space.axis"
    )
    assert dict(found.domains) == {
        "axis.gain": Float(low=0.8, high=1.0),
        "axis.kind": Choice(values=("span", "modules")),
    }
    assert Axis(**found.resolve({"axis.gain": 0.9, "axis.kind": "modules"})) == Axis(gain=0.9, kind="modules")
    for entries, message in (
        ({"gain": {"float": [0.8, 3]}}, r"space\.axis\.gain: must be at most 2, but got 3\.0; nearest legal: 2"),
        ({"kind": "spam"}, r"space\.axis\.kind: must be one of \['span', 'modules'\], but got 'spam'"),
        ({"every": 1.5}, r"space\.axis\.every: must be a whole number, but got 1\.5"),
        ({"gian": 1}, r"space\.axis\.gian: is not a known field; nearest legal: gain"),
    ):
        with pytest.raises(UserError, match=message):
            parse_searched(Axis, entries, name="axis", field="space.axis")


def test_a_space_with_a_continuous_field_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Scaled(Dense):
        """Dense blocks with a number that may be anything."""

        family: ClassVar[str] = "scaled"
        gain: Annotated[float, Ge(0), Le(2)] = 1.0

    monkeypatch.setitem(segment._FAMILIES, "scaled", Scaled)
    space = parsed(segments=[{"family": "scaled", "depth": "rest", "gain": {"float": [0.5, 1.5]}}])
    assert space.size is None
    gains = {space.build(space.sample(random.Random(seed))).schedule.segments[0].gain for seed in range(50)}
    assert len(gains) == 50
    assert min(gains) >= 0.5
    assert max(gains) <= 1.5
    assert len(space.candidates(up_to=20)) == 3  # the gain is no amount: schedules that do the same are one


def test_a_space_survives_a_process_boundary() -> None:
    space = pickle.loads(pickle.dumps(parsed()))
    assert [space.build(choice).digest for choice in space.choices()] == [
        parsed().build(choice).digest for choice in parsed().choices()
    ]


def test_planned_masks_take_the_place_of_spaced_ones() -> None:
    entries = {
        "segments": [{"family": "dense", "depth": 12}],
        "sampler_steps": 6,
        "cache": {"full": {"choice": [1.0, 0.5]}, "mask": "planned"},
    }
    space = parse_space(entries, target=TARGET)
    assert space.plans_masks
    spaced = space.build({"cache.full": 0.5}).sampling
    assert spaced.cache.of(6) == "FpFpFp", "before calibration"
    planned = replace(space, masks={6: {3: "FFpFpp", 6: "FFFFFF"}})
    assert planned.build({"cache.full": 0.5}).sampling.cache == Cache(pattern="FFpFpp")
    assert planned.build({"cache.full": 1.0}).digest == space.build({"cache.full": 1.0}).digest


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        ({"cache": {"full": 1.5}}, r"space.cache.full: must be at most 1, but got 1.5"),
        ({"cache": {"ful": 0.5}}, r"space.cache.ful"),
        ({"cache": 0.5}, r"space.cache: must be a mapping, but got 0.5"),
        ({"cache": {"pattern": "FFp"}}, r"space.cache.pattern: must have 6 letters, but got 'FFp'"),
        ({"guidance": {"every": 2}}, r"space.guidance: has no effect: sampling.guidance is 1"),
        ({"gain": {"at": 12, "stream": 0.9}}, r"space.gain.at: must be at most 11, but got 12"),
        ({"solver": "eulr"}, r"space.solver: must be one of"),
        ({"solver": {"choice": ["ab2", "deis"]}}, r"space.solver: deis is for noise prediction"),
        ({"solver": "heun", "cache": {"mask": "planned"}}, r"space.solver: has two calls per step"),
    ],
)
def test_what_sampling_cannot_do_is_refused(entries: dict[str, Any], error: str) -> None:
    dense = {"segments": [{"family": "dense", "depth": 12}], "sampler_steps": 6}
    with pytest.raises(UserError, match=error):
        parse_space({**dense, **entries}, target=TARGET)


def test_reuse_needs_steps_without_noise() -> None:
    target = replace(TARGET, clock=Clock.of({"_class_name": "DDPMScheduler"}))
    entries: dict[str, Any] = {
        "segments": [{"family": "dense", "depth": 12}],
        "sampler_steps": 6,
        "cache": {"full": 0.5},
    }
    with pytest.raises(UserError, match=r"space.solver: must take steps without noise.*DDPMScheduler adds it"):
        parse_space(entries, target=target)
    assert parse_space({**entries, "solver": "dpmsolver++"}, target=target).size == 1


def test_mappings_of_sampling_are_searched() -> None:
    entries = {
        "segments": [{"family": "dense", "depth": 12}],
        "sampler_steps": {"choice": [4, 6]},
        "solver": {"choice": ["base", "ab2"]},
        "cache": {"full": {"choice": [1.0, 0.5]}, "order": {"choice": [0, 1]}},
        "gain": {"stream": {"float": [0.8, 1.0]}, "at": 2},
    }
    space = parse_space(entries, target=TARGET)
    names = {"sampler_steps", "solver", "cache.full", "cache.order", "gain.stream"}
    assert set(space.domains) == names
    assert space.size is None
    found = space.build({"sampler_steps": 6, "solver": "ab2", "cache.full": 0.5, "cache.order": 0, "gain.stream": 0.9})
    expected = Sampling(steps=6, solver="ab2", cache=Cache(full=0.5, order=0), gain=Gain(stream=0.9, at=2))
    assert found.sampling == expected
    assert type(found).from_dict(found.to_dict()) == found


def test_what_was_built_is_shared_but_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flexsearch.space.search_space._MOST_REMEMBERED", 5)
    space, again = parsed(), parsed()
    choices = list(space.choices())
    assert [space.build(one) for one in choices] == [again.build(one) for one in reversed(choices)][::-1]
    assert space.build(choices[0]).schedule is space.build(choices[0]).schedule
    assert len(space._schedules) <= 5

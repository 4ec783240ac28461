"""What an axis owns of a front and what is lost without it, against the area counted by hand."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_run import FakeRun, dense_under, tiny_store, trial_record
from rich.console import Console

from flexsearch.report.attribution import Attribution
from flexsearch.report.front import Front, front_of, searched_front
from flexsearch.report.page import render
from flexsearch.report.table import attribution_table, front_frame
from flexsearch.schedule import Cache, Dense, DensitySchedule, Pooling, Sampling
from flexsearch.schedule.gain import Gain
from flexsearch.study.store import TrialRecord

NAMES = ("fid_fashion_cnn", "latency_ms")


def trial(number: int, quality: float, ms: float, *, pools: bool = False, **sampling: Any) -> TrialRecord:
    """Trial 0 and 1 are baselines."""
    baseline = f"dense-{number}" if number < 2 else None
    steps = sampling.pop("steps", 10)
    record = trial_record(
        number,
        quality,
        ms,
        sampling=Sampling(steps=steps, **sampling),
        baseline=baseline,
        num_updates=60 if pools else 0,
    )
    if pools:
        schedule = DensitySchedule(segments=(Pooling(depth=1), Dense(depth=3)))
        record = replace(record, candidate=replace(record.candidate, schedule=schedule))
    return record


TRIALS = (
    trial(0, 10.0, 20.0),
    trial(1, 20.0, 10.0, steps=5),
    trial(2, 15.0, 8.0, steps=5, solver="ab2"),
    trial(3, 18.0, 4.0, steps=5, solver="ab2", pools=True),
    trial(4, 12.0, 12.0, steps=5, solver="ab2", gain=Gain(stream=0.9)),
    trial(5, 21.0, 11.0, cache=Cache(full=0.5)),
)
"""The front is 3, 2, 4, 0; the reference is 1.1 times the baselines' worst: 22 and 22 ms."""


@pytest.fixture(scope="module")
def front() -> Front:
    return searched_front(TRIALS, NAMES)


def named(front: Front) -> dict[tuple[str, ...], Attribution]:
    return {one.axes: one for one in front.attributions}


def test_each_axis_owns_its_points_and_the_rest_is_what_the_others_reach(front: Front) -> None:
    found = named(front)
    total = (8 - 4) * (22 - 18) + (12 - 8) * (22 - 15) + (20 - 12) * (22 - 12) + (22 - 20) * (22 - 10)
    assert front.hypervolume == pytest.approx(total)
    assert set(found) == {("sampler_steps",), ("solver",), ("density", "pooling"), ("gain",), ("cache",)}
    solver = found["solver",]
    assert [part.trial for part in solver.owned] == [3, 2, 4]
    assert solver.ranges == [(4.0, 20.0)]
    without = (20 - 10) * (22 - 20) + (22 - 20) * (22 - 10)
    assert (solver.num_without, solver.lost) == (3, pytest.approx(1 - without / total))
    density = found["density", "pooling"]
    assert density.ranges == [(4.0, 8.0)]
    assert density.lost == pytest.approx((8 - 4) * (22 - 18) / total)
    assert (found["cache",].ranges, found["cache",].lost, found["cache",].num_without) == ([], 0.0, 5)
    assert [one.lost for one in front.attributions] == sorted((one.lost for one in front.attributions), reverse=True)


def test_what_it_says(front: Front) -> None:
    found = named(front)
    assert found["gain",].printed == {
        "axes": "gain",
        "front": "1 of 4",
        "owns": "12.0 to 20.0",
        "lost": f"{(20 - 12) * (15 - 12) / front.hypervolume:.1%}",
        "without": "5",
    }
    assert found["density", "pooling"].printed["axes"] == "density, pooling"
    assert found["cache",].printed["owns"] == ""
    assert front.axes[0] == ()
    assert set(front_frame(front)["axes"]) >= {"", "cache", "density pooling sampler_steps solver"}
    [gain] = [one for one in json.loads(json.dumps(front.to_dict()))["attribution"] if one["axes"] == ["gain"]]
    assert gain == {
        "axes": ["gain"],
        "front": [4],
        "owns_ms": [[12.0, 20.0]],
        "trials_without": 5,
        "hypervolume_lost": pytest.approx(24 / front.hypervolume),
    }


def test_the_best_point_owns_what_follows_and_parts_are_joined() -> None:
    better = trial(6, 5.0, 21.0, gain=Gain(stream=0.9))
    [gain] = [one for one in searched_front((*TRIALS, better), NAMES).attributions if one.axes == ("gain",)]
    assert gain.ranges == [(12.0, 20.0), (21.0, None)]
    assert gain.printed["owns"] == "12.0 to 20.0; from 21.0"
    many = [trial(2 + n, 30.0 - n, 5.0 + n, **({"shift": 1.5} if n % 2 else {})) for n in range(10)]
    [shift] = searched_front((trial(0, 10.0, 40.0), *many), NAMES).attributions
    assert shift.printed["owns"] == "6.00 to 40.0, in 5 parts"
    assert shift.strip.count("<rect") == 5


def test_where_all_do_the_same_or_nothing_is_complete_there_is_nothing_to_attribute(tmp_path: Path) -> None:
    assert searched_front([trial(0, 10.0, 20.0), trial(2, 9.0, 21.0)], NAMES).attributions == []
    assert searched_front([], NAMES).attributions == []
    alone = searched_front([trial(2, 9.0, 21.0, steps=5)], NAMES)
    assert alone.attributions == [], "without a dense base the most steps are no axis"
    assert front_of(tiny_store(tmp_path, []), NAMES).attributions == []


def test_table_and_page_have_it(tmp_path: Path, front: Front) -> None:
    console = Console(width=80, file=io.StringIO())
    console.print(attribution_table(front), soft_wrap=True)
    text = console.file.getvalue()
    assert "density, pooling" in text
    assert max(map(len, text.splitlines())) <= 80
    run = FakeRun(folder=tmp_path / "run", more=[(None, dense_under(3, solver="ab2"), 12.0, 5.5)]).make()
    found = front_of(run.store, NAMES)
    page = render(run, found)
    assert page.count('class="strip"') == len(found.attributions) > 0
    assert "not an ablation" in page

"""The chart of the page: marks where their values are, names without overlap, the claim, what is untrusted escaped."""

import re
from dataclasses import replace
from itertools import combinations
from math import log
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fake_run import FakeRun, confirm

from flexsearch.cli.results import front_of_run
from flexsearch.report.claim import Claim, claim_of
from flexsearch.report.front import Front
from flexsearch.report.front_chart import Axis, Box, Chart, _place
from flexsearch.report.points import FrontPoint
from flexsearch.report.series import series_of
from flexsearch.report.speedup import Speedup

SPITE = "<script>alert('1')</script>\"&"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Front:
    return front_of_run(FakeRun(folder=tmp_path_factory.mktemp("chart") / "run").make())


def chart_of(front: Front, *, claim: Claim | None = None, held_out: float | None = None) -> Chart:
    return Chart(
        series=series_of(front),
        front=front,
        claim=claim,
        held_out=held_out,
        across="latency (ms/image)",
        upright=f"distance {SPITE}",
        told=lambda one: f"Trial {one.record.number} {SPITE}",
    )


def drawn(chart: Chart, *, width: int = 1060) -> ElementTree.Element:
    return ElementTree.fromstring(chart.svg(width=width, height=520, name="wide"))


def places(svg: ElementTree.Element) -> dict[int, tuple[float, float]]:
    """Where the mark of each trial is."""
    found = {}
    for mark in svg.iter():
        if "data-trial" in mark.attrib:
            x, y = re.findall(r"[\d.]+", mark.get("transform") or f"{mark.get('cx')} {mark.get('cy')}")
            found[int(mark.attrib["data-trial"])] = (float(x), float(y))
    return found


@pytest.mark.parametrize("width", [380, 1060])
def test_marks_are_where_their_values_are(front: Front, width: int) -> None:
    at = places(drawn(chart_of(front), width=width))
    assert at.keys() == front.complete.keys()
    points = sorted(front.as_searched.points, key=lambda one: one.latency_ms)
    assert sorted(at, key=lambda number: at[number][0]) == [one.record.number for one in points]
    worst_first = sorted(points, key=lambda one: -one.quality)
    assert sorted(at, key=lambda number: at[number][1]) == [one.record.number for one in worst_first]
    (x, y), dense = zip(*(at[number] for number in (0, 1)), strict=True), {0: (10.0, 20.0), 1: (16.0, 10.0)}
    assert (x[0] - 52) / (x[1] - 52) == pytest.approx(dense[0][1] / dense[1][1], rel=0.01), "latency starts at 0"
    high, low = at[2][1], at[4][1]
    share = (y[0] - high) / (low - high)
    assert share == pytest.approx(log(40 / 10) / log(40 / 14), rel=0.01), "equal ratios, equal lengths"


def test_an_axis_has_round_ticks_and_keeps_what_lies_outside_inside() -> None:
    latency = Axis(low=0.0, high=27.3, start=50, end=1000, is_log=False)
    assert latency.ticks(9) == [0, 5, 10, 15, 20, 25]
    assert latency.at(-1000) == 50
    distance = Axis(low=6.1, high=58.0, start=400, end=20, is_log=True)
    assert distance.ticks(8) == [7, 10, 20, 30, 40, 50]
    assert Axis(low=0.011, high=9000.0, start=400, end=20, is_log=True).ticks(8) == [0.1, 1, 10, 100, 1000]
    below_zero = Axis(low=-0.01, high=0.3, start=400, end=20, is_log=False)
    assert below_zero.at(-0.01) == 400, "a kernel distance may be negative"


def test_names_overlap_neither_each_other_nor_leave_the_room() -> None:
    room, taken = Box(left=50, top=20, right=400, bottom=300), list[Box]()
    found = [_place(str(100 + index), 60.0 + 9 * (index % 12), 40.0 + 7 * index, room, taken) for index in range(36)]
    boxes = [one for one in found if one is not None]
    assert 4 < len(boxes) < 36
    assert all(room.holds(one) for one in boxes)
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_names_are_trial_numbers_and_the_dense_bases_steps(front: Front) -> None:
    texts = [text.text for text in drawn(chart_of(front)).iter("text")]
    assert {"4", "5", "6", "10 steps", "5 steps", "3 steps"} <= set(texts)


def test_the_claim_is_an_arrow_from_what_is_free_to_the_point(front: Front) -> None:
    point = front.as_searched.by_number[4]
    claim = Claim(point=point, speedup=Speedup(value=2.0, low=1.5, high=2.5, free_ms=2 * point.latency_ms))
    svg = drawn(chart_of(front, claim=claim))
    x, y = places(svg)[4]
    (arrow,) = (one for one in svg.iter() if one.get("class") == "claim")
    tail, height, head = map(float, re.match(r"M([\d.]+) ([\d.]+)H([\d.]+)", arrow.attrib["d"]).groups())  # type: ignore[union-attr]
    assert height == y
    assert head == pytest.approx(x + 8)
    assert (tail - 52) / (x - 52) == pytest.approx(2.0, rel=0.01)
    assert "2.00x at equal quality" in "".join(svg.itertext())
    assert claim_of(front.best_known) is not None


def test_the_front_and_what_is_free_are_steps(front: Front) -> None:
    every = drawn(chart_of(front)).iter("path")
    lines = {one.get("class"): one.attrib["d"] for one in every if "line" in one.get("class", "")}
    assert {"line best", "line free", "line base"} == lines.keys()
    assert all(re.fullmatch(r"M[\d.]+ [\d.]+(H[\d.]+V[\d.]+)*H[\d.]+", one) for one in lines.values())
    real = {one.get("class") for one in drawn(chart_of(front, held_out=6.8)).iter()}
    assert "line real" in real
    assert "real images 6.8" in "".join(drawn(chart_of(front, held_out=6.8)).itertext())


def test_what_is_untrusted_is_text(front: Front) -> None:
    text = chart_of(front).svg(width=1060, height=520, name="wide")
    assert "<script" not in text
    assert SPITE in "".join(ElementTree.fromstring(text).itertext())
    told = [one.get("aria-label") for one in ElementTree.fromstring(text).iter() if "data-trial" in one.attrib]
    assert f"Trial 4 {SPITE}" in told


def test_once_measured_again_old_values_are_hollow_or_left_out(tmp_path: Path) -> None:
    run = FakeRun(folder=tmp_path / "run").make()
    confirm(run, {0: (9.0, 20.0), 1: (15.0, 10.0), 4: (13.0, 7.0), 6: (10.0, 9.0)})
    front = front_of_run(run)
    assert front.confirmation is not None
    assert places(drawn(chart_of(front))).keys() == {0, 1, 4, 6}, "2000 images do not compare with 500"
    points = {number: replace(one, at_infinity=None) for number, one in front.confirmation.points.items()}
    alike = replace(front, confirmation=replace(front.confirmation, images=500, points=points))
    once = next(one for one in series_of(alike) if one.is_hollow)
    assert numbers(once.points) == {2, 3, 5, 7}


def numbers(points: object) -> set[int]:
    assert isinstance(points, list)
    return {one.record.number for one in points if isinstance(one, FrontPoint)}

"""Speed at equal quality: the free front between its points, bounds beyond them, intervals, and what is claimed."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fake_run import trial_record

from flexsearch.report.budgets import budgets_of
from flexsearch.report.claim import headline, sentences
from flexsearch.report.points import FrontPoint, Points
from flexsearch.report.speedup import Speedup, claims_of, rivals, speedup_of, speedup_over_found
from flexsearch.schedule import Cache, Sampling


def point(number: int, quality: float, ms: float, *, baseline: str | None = None, **what: Any) -> FrontPoint:
    """A trained point; a free one if it is a baseline."""
    updates = 0 if baseline else what.pop("num_updates", 60)
    record = trial_record(
        number, quality, ms, baseline=baseline, num_updates=updates, sampling=what.pop("sampling", Sampling(steps=5))
    )
    return FrontPoint(record=record, quality=quality, latency_ms=ms, **what)


def points_of(*points: FrontPoint) -> Points:
    return Points.of(points, quality_sd=None, latency_sd=None)


FREE = [
    point(number, quality, ms, baseline=f"dense, {steps} steps", sampling=Sampling(steps=steps))
    for number, (steps, quality, ms) in enumerate([(2, 40.0, 5.0), (4, 20.0, 10.0), (8, 10.0, 20.0)])
]
"""Distance times latency is 200: in logarithms the front is one straight line."""


@pytest.mark.parametrize(("quality", "ms"), [(30.0, 2.0), (20.0, 4.0), (11.0, 9.0), (39.0, 6.0)])
def test_between_free_points_the_front_is_straight_in_logarithms(quality: float, ms: float) -> None:
    one = point(9, quality, ms)
    found = speedup_of(points_of(*FREE, one), one)
    assert found is not None
    assert found.value == pytest.approx(200 / quality / ms)
    assert found.low == pytest.approx(found.value) == pytest.approx(found.high), "no noise was measured"
    assert found.free_ms == pytest.approx(200 / quality)
    assert found.bound is None


def test_where_a_distance_is_not_positive_only_the_latency_is_a_logarithm() -> None:
    free = [replace(FREE[0], quality=1.0), replace(FREE[1], quality=-1.0)]
    one = point(9, 0.0, 5.0)
    found = speedup_of(points_of(*free, one), one)
    assert found is not None
    assert found.free_ms == pytest.approx(math.sqrt(5 * 10))


def test_beyond_the_ends_there_is_a_bound() -> None:
    better, worse, dominated = point(8, 9.0, 10.0), point(9, 50.0, 2.0), point(7, 50.0, 10.0)
    points = points_of(*FREE, better, worse, dominated)
    best = speedup_of(points, better)
    assert (best.bound, best.value, best.low, best.high) == ("at least", 2.0, pytest.approx(2.0), math.inf)
    assert (str(best), best.symbol, best.is_claim) == ("at least 2.00x (95 %)", "> 2.00x", True)
    most = speedup_of(points, worse)
    assert (most.bound, most.value, most.low) == ("at most", pytest.approx(2.5), 0.0)
    assert (most.symbol, most.verdict, most.is_claim) == ("< 2.50x", "within noise", False)
    assert speedup_of(points, dominated).verdict == "slower", "the fastest free one is better, and faster"


def test_within_noise_of_the_fastest_free_point_the_two_are_compared() -> None:
    """Twice as fast as it; the low end follows the front's line to what the noise may hide."""
    one = point(9, 41.0, 2.5, distance_sd=2.0)
    found = speedup_of(points_of(*(replace(free, distance_sd=2.0) for free in FREE), one), one)
    assert (found.bound, found.value) == (None, pytest.approx(2.0))
    noise = 1.959964 * 2 * math.sqrt(2)
    assert found.low == pytest.approx(200 / (41 + noise) / 2.5)
    alone = points_of(replace(FREE[0], distance_sd=2.0), one)
    assert speedup_of(alone, one).low == 0.0, "one free point has no line"


def test_the_interval_joins_both_noises() -> None:
    """Where the front is distance times latency = 200, a relative error of the distance is one of the latency."""
    sd, jitter = 0.4, 0.03
    free = [replace(one, distance_sd=sd, latency_sd=jitter) for one in FREE]
    one = point(9, 15.0, 5.0, distance_sd=sd, latency_sd=jitter)
    found = speedup_of(points_of(*free, one), one)
    noise, wide = 1.959964 * sd * math.sqrt(2), 1.959964 * jitter * math.sqrt(2)
    low = math.hypot(math.log((15 + noise) / 15), wide)
    high = math.hypot(math.log(15 / (15 - noise)), wide)
    assert (found.low, found.high) == (
        pytest.approx(found.value * math.exp(-low)),
        pytest.approx(found.value * math.exp(high)),
    )


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """A trial that is 1.5x as fast as a smooth free front, both measured with noise."""
    generator, held, claims, sd, jitter = np.random.default_rng(0), [], [], 0.5, 0.02
    for _ in range(400):
        for truth in (1.0, 1.5):
            steps = zip((2, 3, 4, 6, 8, 10), 5.0 * np.array([1, 1.5, 2, 3, 4, 5]), strict=True)
            free = [
                point(
                    number, 200 / ms + generator.normal(0, sd), ms * (1 + generator.normal(0, jitter)), baseline="free",
                    distance_sd=sd, latency_sd=jitter, sampling=Sampling(steps=num),
                )
                for number, (num, ms) in enumerate(steps)
            ]  # fmt: skip
            ms = 200 / 15 / truth * (1 + generator.normal(0, jitter))
            one = point(9, 15 + generator.normal(0, sd), ms, distance_sd=sd, latency_sd=jitter)
            found = speedup_of(points_of(*free, one), one)
            held.append(found.low <= truth <= found.high)
            if truth == 1.0:
                claims.append(found.is_claim)
    assert np.mean(held) >= 0.94
    assert np.mean(claims) <= 0.05, "what is no faster is hardly ever claimed to be"


def test_distances_without_bias_are_compared_where_they_are_known() -> None:
    free = [replace(one, quality=one.quality + 5, at_infinity=one.quality) for one in FREE]
    one = replace(point(9, 25.0, 5.0), at_infinity=20.0)
    assert speedup_of(points_of(*free, one), one).value == pytest.approx(2.0)


def test_what_is_free_is_not_compared_but_what_the_search_found_free_is() -> None:
    found_free = point(7, 20.0, 5.0, num_updates=0, sampling=Sampling(steps=5, cache=Cache(full=0.5)))
    trained = point(8, 15.0, 5.0)
    points = points_of(*FREE, found_free, trained)
    assert speedup_of(points, FREE[1]) is None
    assert speedup_of(points, found_free).value == pytest.approx(2.0)
    assert speedup_of(points, trained).value == pytest.approx(200 / 15 / 5)
    over = speedup_over_found(points, trained)
    assert over.value == pytest.approx(math.exp(math.log(5) + math.log(4) * math.log(20 / 15) / math.log(2)) / 5)
    assert speedup_over_found(points, found_free) is None
    assert any("found by the search too" in line for line in sentences(points, trained, quality="fid"))
    assert speedup_of(points_of(trained), trained) is None


def test_rivals_are_the_neighbours_on_the_free_front() -> None:
    points = points_of(*FREE, point(5, 21.0, 11.0, baseline="dominated", sampling=Sampling(steps=9)))
    for quality, expected in ((30.0, [0, 1]), (20.0, [0, 1]), (9.0, [2]), (50.0, [0])):
        assert [one.record.number for one in rivals(points, point(9, quality, 1.0))] == expected


def test_the_headline_goes_by_what_is_sure_and_claims_nothing_within_noise() -> None:
    """Trial 8 looks faster; trial 9 is known better. Alone, a trial whose interval holds 1 is no claim."""
    lucky, sure = point(8, 30.0, 3.0, latency_sd=0.5), point(9, 15.0, 8.0, latency_sd=0.01)
    points = points_of(*FREE, lucky, sure)
    assert speedup_of(points, lucky).value > speedup_of(points, sure).value
    assert [one.record.number for one, _ in claims_of(points)] == [9]
    claim, found = headline(points, quality="fid")
    assert found == sure
    assert claim == (
        "1.67x (95 %: 1.63 to 1.70) as fast as the training-free baselines at equal fid: trial 9 takes 8 ms per image, "
        "not 13.3 ms (between trials 1 and 2). The noise of fid was not measured."
    )
    claim, found = headline(points_of(*FREE, lucky), quality="fid")
    assert (claim, found) == ("No searched trial is faster than what is free at the same fid, beyond noise.", None)
    assert headline(points_of(sure), quality="fid")[1] is None, (
        "without free baselines there is nothing to compare with"
    )


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (
            point(9, 9.0, 5.0),
            "At least 4.00x (95 %) as fast as the best training-free baseline, and its fid is no worse",
        ),
        (point(9, 50.0, 2.0), "At equal quality nothing can be told."),
        (point(9, 20.0, 40.0), "training-free baselines of equal fid 10 ms (between trials 0 and 1): 0.25x"),
        (point(9, 20.0, 10.0, latency_sd=0.1), "within noise, 1.00x (95 %: 0.82 to 1.22)"),
    ],
)
def test_every_case_is_said(one: FrontPoint, said: str) -> None:
    (line,) = sentences(points_of(*FREE, one), one, quality="fid")
    assert said in line


def test_within_noise_is_an_equals_sign_and_json_has_no_infinity() -> None:
    assert Speedup(value=1.1, low=0.9, high=1.3, free_ms=1.0).symbol == "="
    assert Speedup(value=0.8, low=0.7, high=0.9, free_ms=1.0).symbol == "0.80x"
    told = Speedup(value=1.1, low=0.9, high=math.inf, free_ms=1.0).to_dict()
    assert json.loads(json.dumps(told, allow_nan=False))["high"] is None


def test_budgets_take_measured_points_alone() -> None:
    """The dense base is at 10: 1.5x allows 15, 3x allows 30, 4.5x is not asked."""
    points = points_of(*FREE, point(8, 14.0, 8.0), point(9, 29.0, 4.0))
    rows = [one.printed for one in budgets_of(points)]
    assert [row["budget"] for row in rows] == ["1.25x", "1.5x", "2x", "3x"]
    assert [row["searched"] for row in rows] == ["none", "2.50x (trial 8)", "2.50x (trial 8)", "5.00x (trial 9)"]
    assert [row["free"] for row in rows] == ["1.00x (trial 2)", "1.00x (trial 2)", "2.00x (trial 1)", "2.00x (trial 1)"]
    assert budgets_of(points_of(replace(FREE[2], quality=-1.0))) == []
    assert budgets_of(points_of(point(9, 1.0, 1.0))) == []

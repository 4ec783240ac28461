"""Amounts between values: what costs nothing goes, what matters stays, gradients are those of the interpolation."""

import itertools
import random
from typing import Any

import pytest

from flexsearch.space.domains import Choice, Float, Int
from flexsearch.trial.learned_amounts import PRICES, Axis, _in_order, _slope, learn, sweep

AXES = (Axis(name="idle", values=(1, 2, 3, 4, 5)), Axis(name="needed", values=(2, 4, 6, 8)))


def loss(parameters: Any) -> float:
    return float((8 - parameters["needed"]) ** 2)


def time(parameters: Any) -> float:
    return (parameters["idle"] + parameters["needed"]) / 13


def test_what_costs_nothing_is_emptied_and_what_matters_is_kept() -> None:
    idle, needed = learn(AXES, lambda one: loss(one) + 0.5 * time(one), seed=0)
    assert (AXES[0].rounded(idle), AXES[1].rounded(needed)) == (1, 8)


def test_dearer_time_gives_schedules_that_take_less_of_it() -> None:
    found = sweep(AXES, loss=loss, time=time, seed=0)
    assert [one.price for one in found] == list(PRICES)
    assert {one.parameters["idle"] for one in found} == {1}
    needed = [one.parameters["needed"] for one in found]
    assert needed == sorted(needed, reverse=True)
    assert (needed[0], needed[-1]) == (8, 2)
    assert all(one.loss == loss(one.parameters) and one.time == time(one.parameters) for one in found)
    assert found == sweep(AXES, loss=loss, time=time, seed=0)


def test_nothing_is_learned_where_time_is_the_same_everywhere() -> None:
    found = sweep(AXES, loss=loss, time=lambda _: 1.0, seed=0)
    assert {one.parameters["needed"] for one in found} == {8}
    assert {one.places["idle"] for one in found} == {0.5}


def test_the_mean_of_what_is_drawn_is_the_gradient_of_the_interpolation() -> None:
    drawn = random.Random(0).sample(range(99), 20)
    table = dict(zip(itertools.product(*(axis.values for axis in AXES)), drawn, strict=True))
    places = (0.3, 0.55)

    def cost(one: Any) -> float:
        return float(table[one["idle"], one["needed"]])

    def interpolated(*at: float) -> float:
        total = 0.0
        for ups in itertools.product((0, 1), repeat=len(AXES)):
            values, weight = {}, 1.0
            for axis, up, place in zip(AXES, ups, at, strict=True):
                share = place * axis.last - axis.below(place)
                values[axis.name] = axis.values[axis.below(place) + up]
                weight *= share if up else 1 - share
            total += weight * cost(values)
        return total

    generator = random.Random(0)
    draws = [
        {axis.name: axis.drawn(place, generator) for axis, place in zip(AXES, places, strict=True)} for _ in range(4000)
    ]
    for index, axis in enumerate(AXES):
        mean = sum(_slope(axis, places[index], one, cost) for one in draws) / len(draws)
        step = [place + 1e-6 * (other == index) for other, place in enumerate(places)]
        assert mean == pytest.approx((interpolated(*step) - interpolated(*places)) / 1e-6, rel=0.05)


@pytest.mark.parametrize(
    ("domain", "values"),
    [
        (Int(low=2, high=6, step=2), (2, 4, 6)),
        (Choice(values=(8, 4, 6)), (4, 6, 8)),
        (Choice(values=("4x4", "2x3", "3x4")), ("2x3", "3x4", "4x4")),
        (Choice(values=("mlp", "block")), ("mlp", "block")),
        (Choice(values=(None, 3, 2)), (None, 3, 2)),
        (Float(low=0.0, high=1.0), tuple(one / 8 for one in range(9))),
        (Float(low=0.5, high=0.5), (0.5,)),
    ],
)
def test_neighbours_are_beside_each_other(domain: Any, values: tuple[Any, ...]) -> None:
    assert _in_order(domain) == values


def test_places_round_to_the_nearest_value_and_are_drawn_from_both_neighbours() -> None:
    axis = AXES[1]
    assert [axis.rounded(place) for place in (0, 0.15, 0.2, 0.5, 0.9, 1)] == [2, 2, 4, 6, 8, 8]
    generator = random.Random(0)
    assert {axis.drawn(0.5, generator) for _ in range(50)} == {4, 6}
    assert {axis.drawn(1.0, generator) for _ in range(50)} == {8}

"""Amounts of density as numbers between the values that they may take, learned by gradient.

Source: DiffCR (arXiv 2412.16822). Each of its layers learns the share of tokens that it keeps, as a number between two
bins: both are computed, and weighted by how near they are. Here such a number is every searched parameter of schedules:
depths, grids, widths, tokens that are kept, by segment, near the data and near noise; bins are the parameter's values.

Where we depart:

- Losses are interpolated, not outputs of layers: schedules of different depths and grids have no layers in common. The
  loss of amounts between values is the mean over schedules whose every amount is one of its two neighbours, drawn with
  the weight of how near it is. It is linear in each amount between two values, so its gradient is a difference of two
  losses, and nothing is propagated backwards.
- What an amount saves is time, not the mean ratio. Time has not one target but several prices; each gives a schedule.
"""

import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from flexsearch.schedule.shape import sides_of
from flexsearch.space.domains import Domain, Float, Value
from flexsearch.space.search_space import SearchSpace

Parameters = Mapping[str, Value]
Cost = Callable[[Parameters], float]

PRICES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0)
"""Of time, in units of what losses differ by for what times differ, over schedules that are drawn from the space."""
UPDATES = 40
_LEARNING_RATE = 0.1  # of places from 0 to 1; it falls linearly to 0
_DRAWN = 16
_BINS = 9


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A parameter and its values, of which those beside each other are neighbours."""

    name: str
    values: tuple[Value, ...]

    @property
    def last(self) -> int:
        """Index of the last value."""
        return len(self.values) - 1

    def below(self, place: float) -> int:
        """Give the index of the lower of the two neighbours of a place from 0 to 1."""
        return min(int(place * self.last), self.last - 1)

    def drawn(self, place: float, generator: random.Random) -> Value:
        """Draw one of the two neighbours, the nearer the likelier."""
        below = self.below(place)
        return self.values[below + (generator.random() < place * self.last - below)]

    def rounded(self, place: float) -> Value:
        """Give the nearest value."""
        return self.values[round(place * self.last)]


def axes_of(space: SearchSpace) -> tuple[Axis, ...]:
    """Give the amounts that a space leaves open."""
    found = (Axis(name=name, values=_in_order(domain)) for name, domain in space.schedule_domains.items())
    return tuple(axis for axis in found if axis.last)


def _in_order(domain: Domain) -> tuple[Value, ...]:
    """Numbers by size, grids by their tokens; what has no order of its own as it is written."""
    if isinstance(domain, Float):
        if domain.low == domain.high:
            return (domain.low,)
        return tuple(domain.low + (domain.high - domain.low) * one / (_BINS - 1) for one in range(_BINS))
    try:
        return tuple(sorted(domain.values, key=_size))
    except (TypeError, ValueError):
        return domain.values


def _size(value: Value) -> float:
    if isinstance(value, str):
        return math.prod(sides_of(value))
    if value is None:
        raise TypeError("has no size")
    return value


def learn(
    axes: Sequence[Axis], cost: Cost, *, seed: int, report: Callable[[int], None] = lambda _: None
) -> list[float]:
    """Minimise the interpolated cost from the middle of every axis; give the places, from 0 to 1.

    Args:
        axes: what is learned.
        cost: of parameters that each have one of their axis's values.
        seed: of the neighbours that are drawn.
        report: called with the number of updates done.
    """
    places = torch.full((len(axes),), 0.5, dtype=torch.float64)
    optimizer = torch.optim.Adam([places], lr=_LEARNING_RATE)
    for update in range(UPDATES):
        generator, now = random.Random(f"{seed}:{update}"), places.tolist()
        drawn = {axis.name: axis.drawn(place, generator) for axis, place in zip(axes, now, strict=True)}
        slopes = [_slope(axis, place, drawn, cost) for axis, place in zip(axes, now, strict=True)]
        places.grad = torch.tensor(slopes, dtype=torch.float64)
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * (1 - update / UPDATES)
        optimizer.step()
        places.clamp_(0, 1)
        report(update + 1)
    return places.tolist()


def _slope(axis: Axis, place: float, others: Parameters, cost: Cost) -> float:
    """The gradient along one axis, where the others have the values that were drawn."""
    below = axis.below(place)
    low, high = ({**others, axis.name: value} for value in axis.values[below : below + 2])
    return (cost(high) - cost(low)) * axis.last


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What one price of time gives, with its loss and its share of the dense base's time."""

    price: float
    places: dict[str, float]
    parameters: dict[str, Value]
    loss: float
    time: float


def sweep(
    axes: Sequence[Axis],
    *,
    loss: Cost,
    time: Cost,
    seed: int,
    report: Callable[[int, int], None] = lambda *_: None,
) -> list[Learned]:
    """Learn the amounts under every price of time, the lowest first.

    Args:
        axes: what is learned.
        loss: of parameters.
        time: of parameters, as a share of the dense base's.
        seed: of what is drawn.
        report: called with (updates done, in total).
    """
    generators = [random.Random(f"{seed}:unit:{index}") for index in range(_DRAWN)]
    drawn = [{axis.name: one.choice(axis.values) for axis in axes} for one in generators]
    spread = statistics.pstdev(map(time, drawn))
    unit = statistics.pstdev(map(loss, drawn)) / spread if spread else 0.0
    found: list[Learned] = []
    total = len(PRICES) * UPDATES
    for index, price in enumerate(PRICES):

        def cost(parameters: Parameters, price: float = price * unit) -> float:
            return loss(parameters) + price * time(parameters)

        def told(update: int, before: int = index * UPDATES) -> None:
            report(before + update, total)

        places = learn(axes, cost, seed=seed, report=told)
        parameters = {axis.name: axis.rounded(place) for axis, place in zip(axes, places, strict=True)}
        found.append(
            Learned(
                price=price,
                places={axis.name: round(place, 4) for axis, place in zip(axes, places, strict=True)},
                parameters=parameters,
                loss=loss(parameters),
                time=time(parameters),
            )
        )
    return found

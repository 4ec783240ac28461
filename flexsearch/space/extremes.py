"""The least and the largest of an amount over a search space, from few of its candidates."""

import random
from collections.abc import Callable

from flexsearch.schedule.candidate import Candidate
from flexsearch.space.domains import Float, Value
from flexsearch.space.search_space import SearchSpace

_ALL_UP_TO = 300
_DRAWN_STARTS = 2


def extremes(space: SearchSpace, amount: Callable[[Candidate], float]) -> tuple[float, float]:
    """Find the least and the largest amount of a space's candidates.

    Of a small space all candidates are asked. In a larger one each parameter in turn takes its best value (of a float
    domain, the better end) until none changes anything, from several choices of parameters. What is found is always
    some candidate's amount. It is the extreme where no two parameters have to change together.
    """
    known: dict[tuple[Value, ...], float] = {}

    def of(parameters: dict[str, Value]) -> float:
        key = tuple(parameters.values())
        if key not in known:
            known[key] = amount(space.build(parameters))
        return known[key]

    if space.size is not None and space.size <= _ALL_UP_TO:
        found = list(map(of, space.choices()))
        return min(found), max(found)
    columns = {
        name: (domain.low, domain.high) if isinstance(domain, Float) else domain.values
        for name, domain in space.domains.items()
    }

    def climbed(parameters: dict[str, Value], best: Callable[..., dict[str, Value]]) -> float:
        before = None
        while of(parameters) != before:
            before = of(parameters)
            for name, values in columns.items():
                parameters = best((parameters | {name: value} for value in values), key=of)
        return before

    generator = random.Random(0)
    starts: list[dict[str, Value]] = [{name: values[end] for name, values in columns.items()} for end in (0, -1)]
    starts += [space.sample(generator) for _ in range(_DRAWN_STARTS)]
    return min(climbed(one, min) for one in starts), max(climbed(one, max) for one in starts)

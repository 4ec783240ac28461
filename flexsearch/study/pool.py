"""Draw unseen candidates, among which the acquisition chooses."""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from flexsearch.space.domains import Value
from flexsearch.space.search_space import SearchSpace

_DRAWS = 2000
_DRAWS_OF_VARIANTS = 4

Parameters = Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Draw candidates of a space: always the same at one point of a search.

    Attributes:
        space: gives candidates for parameters.
        seed: of the search.
    """

    space: SearchSpace
    seed: int

    def draw(self, num: int, *, seen: Collection[str], trained: Sequence[Parameters]) -> list[Parameters]:
        """Draw up to `num` different candidates: up to half of them sample schedules in new ways that are fine-tuned
        already, the dense base, which needs no fine-tune, among them.

        Args:
            num: candidates at most.
            seen: digests that are not drawn again.
            trained: parameters whose schedules are fine-tuned already.
        """
        trained = list(trained)
        if self.space.searches_dense:
            trained.append({**self.space.sample(random.Random(self.seed)), "dense": True})
        variants = self._draw(num // 2, seen=seen, schedules=trained) if trained and self._sampling else {}
        return list((variants | self._draw(num, seen=seen)).values())[:num]

    def draw_one(self, *, seen: Collection[str]) -> Parameters | None:
        """Draw one candidate; None if none is left."""
        return next(iter(self._draw(1, seen=seen).values()), None)

    @cached_property
    def _sampling(self) -> list[str]:
        """The parameters of the space that schedules do not depend on."""
        return [name for name, _ in self.space.sampling.domains]

    def _draw(self, num: int, *, seen: Collection[str], schedules: Sequence[Parameters] = ()) -> dict[str, Parameters]:
        """Draw by digest; if parameters of schedules are given, candidates with one of these."""
        generator = random.Random(f"{self.seed}:{len(seen)}{':variants' if schedules else ''}")
        found: dict[str, Parameters] = {}
        for _ in range(_DRAWS_OF_VARIANTS * num if schedules else max(_DRAWS, num)):
            parameters: Parameters = self.space.sample(generator)
            if schedules:
                sampling = {name: parameters[name] for name in self._sampling}
                parameters = {**generator.choice(schedules), **sampling}
            digest = self.space.build(parameters).digest
            if digest not in seen:
                found.setdefault(digest, parameters)
            if len(found) == num:
                break
        return found

"""A search space: named parameters with domains, and a map from any choice of them to a valid candidate."""

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from flexsearch.measurement import canonical_json
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families import Segment
from flexsearch.schedule.families.dense import DENSE
from flexsearch.schedule.masks import Masks
from flexsearch.schedule.plan import Plan, Target, lower
from flexsearch.schedule.presets import PAPER_STAGES
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import Side, TokenGrid
from flexsearch.schedule.start import Start
from flexsearch.schedule.timetable import LinearTimetable, OwnGrid, Timetable, equal_edges
from flexsearch.schedule.width import EIGHTHS, Width
from flexsearch.space.domains import Domain, Float, Value, corners
from flexsearch.space.layout import build_segments
from flexsearch.space.searched import Searched

Parameters = Mapping[str, Value]
Made = TypeVar("Made")
_MOST_REMEMBERED = 1 << 12


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What takes the place of the segments.

    Attributes:
        dense: the dense base does, so that how it samples is searched beside schedules.
    """

    dense: bool = False


_NO_LAYOUT = Searched(kind=Layout, name="", fields={})


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Searched and constant choices for one model.

    Attributes:
        target: the model, its clock and guidance: what candidates are lowered for.
        segments: the layout.
        timetable: stages and grids; None in a space without them.
        sampling: the choices of sampling.
        layout: whether the dense base is among the schedules.
        masks: of `cache.mask: planned`, by sampler steps; None before they are planned.
    """

    target: Target
    segments: tuple[Searched, ...]
    timetable: Searched | None
    sampling: Searched
    layout: Searched = _NO_LAYOUT
    masks: Masks | None = None

    @cached_property
    def domains(self) -> Mapping[str, Domain]:
        """Every searched parameter; all of them are suggested in every trial."""
        others = {name: domain for part in (self.sampling, self.layout) for name, domain in part.domains}
        return {**self.schedule_domains, **others}

    @cached_property
    def schedule_domains(self) -> Mapping[str, Domain]:
        """The searched parameters that schedules depend on: of segments and timetable."""
        parts = [*self.segments, *([] if self.timetable is None else [self.timetable])]
        return {name: domain for part in parts for name, domain in part.domains}

    @property
    def num_blocks(self) -> int:
        """Blocks of the model."""
        return self.target.shape.num_blocks

    @property
    def grid(self) -> TokenGrid:
        """Dense tokens of the model."""
        return self.target.shape.grid

    @property
    def size(self) -> int | None:
        """How many choices of parameters there are; None if a domain is continuous."""
        counts = [None if domain.values is None else len(domain.values) for domain in self.domains.values()]
        return None if None in counts else math.prod(count for count in counts if count is not None)

    def build(self, parameters: Parameters) -> Candidate:
        """Give the candidate of one choice of parameters; those of a schedule that the dense base replaces are idle."""
        if self._is_dense(parameters):
            return Candidate(schedule=DensitySchedule.all_dense(self.num_blocks), sampling=self._sampling(parameters))
        key = tuple(parameters[name] for name in self.schedule_domains)
        if key not in self._schedules:
            segments, timetable = self._layout(parameters), self._timetable(parameters)
            schedule = DensitySchedule(segments=segments, timetable=timetable)
            _remember(self._schedules, key, schedule)
        return Candidate(schedule=self._schedules[key], sampling=self._sampling(parameters))

    def _is_dense(self, parameters: Parameters) -> bool:
        key = tuple(parameters[name] for name, _ in self.layout.domains)
        if key not in self._known_dense:
            self._known_dense[key] = self.layout.build(parameters).dense
        return self._known_dense[key]

    @cached_property
    def _known_dense(self) -> dict[tuple[Value, ...], bool]:
        """Whether the dense base is chosen, by the parameters that say so."""
        return {}

    def _layout(self, parameters: Parameters) -> tuple[Segment, ...]:
        key = tuple(parameters[name] for segment in self.segments for name, _ in segment.domains)
        if key not in self._known_layouts:
            segments = build_segments(self.segments, parameters, num_blocks=self.num_blocks)
            _remember(self._known_layouts, key, segments)
        return self._known_layouts[key]

    @cached_property
    def _known_layouts(self) -> dict[tuple[Value, ...], tuple[Segment, ...]]:
        """Segments by their parameters."""
        return {}

    def _sampling(self, parameters: Parameters) -> Sampling:
        key = tuple(parameters[name] for name, _ in self.sampling.domains)
        if key not in self._samplings:
            sampling: Sampling = self.sampling.build(parameters)
            if sampling.cache.mask == "planned":
                masks = None if self.masks is None else self.masks[sampling.steps]
                sampling = replace(sampling, cache=sampling.cache.planned(sampling.num_patterned, masks))
            _remember(self._samplings, key, sampling)
        return self._samplings[key]

    @cached_property
    def _samplings(self) -> dict[tuple[Value, ...], Sampling]:
        """Samplings by their parameters."""
        return {}

    @cached_property
    def _schedules(self) -> dict[tuple[Value, ...], DensitySchedule]:
        """Schedules by their parameters: candidates that differ in sampling share them."""
        return {}

    def _timetable(self, parameters: Parameters) -> Timetable:
        if self.timetable is None:
            return Timetable()
        key = tuple(parameters[name] for name, _ in self.timetable.domains)
        if key not in self._known_timetables:
            fields = self.timetable.resolve(parameters)
            _remember(self._known_timetables, key, LinearTimetable(**fields).build(frames=self.grid.frames))
        return self._known_timetables[key]

    @cached_property
    def _known_timetables(self) -> dict[tuple[Value, ...], Timetable]:
        """Timetables by their parameters."""
        return {}

    def plan(self, candidate: Candidate) -> Plan:
        """Lower a candidate for the model of this space."""
        return lower(candidate, self.target)

    def choices(self) -> Iterator[dict[str, Value]]:
        """Go through every choice of parameters of a finite space, in lexicographic order."""
        names = list(self.domains)
        columns = [domain.values for domain in self.domains.values()]
        if any(column is None for column in columns):
            raise ValueError("a space with a float domain cannot be enumerated")
        for row in itertools.product(*(column for column in columns if column is not None)):
            yield dict(zip(names, row, strict=True))

    def sample(self, generator: random.Random) -> dict[str, Value]:
        """Draw one choice of parameters, each uniformly from its domain."""
        return {
            name: generator.uniform(domain.low, domain.high)
            if isinstance(domain, Float)
            else generator.choice(domain.values)
            for name, domain in self.domains.items()
        }

    def candidates(self, *, up_to: int) -> list[Candidate]:
        """Give every candidate once; those of `up_to` draws, always the same, where there are more choices."""
        if self.size is not None and self.size <= up_to:
            choices = list(self.choices())
        else:
            generator = random.Random(0)
            choices = [self.sample(generator) for _ in range(up_to)]
        found = list(map(self.build, choices))
        samplings = {one.sampling for one in found}
        spelled = {one: canonical_json(one.spelled(num_blocks=self.num_blocks)) for one in samplings}
        return list({(one.schedule.digest, spelled[one.sampling]): one for one in found}.values())  # as by `digest`

    def sparse_grids(self) -> frozenset[tuple[Side, int | None]]:
        """Give every sparse grid that some schedule of the space has, and its frames."""
        rows = [{}] if self.timetable is None else _rows(self.timetable)
        timetables = dict.fromkeys(map(self._timetable, rows))
        found: set[tuple[Side, int | None]] = set()
        for segment in (one for one in self.segments if one.kind.needs_grid):
            parts = [part for part in segment.parts if part.kind is OwnGrid]
            owns: list[OwnGrid] = [part.build(row) for part in parts for row in _rows(part)] or [OwnGrid()]
            for timetable, own in itertools.product(timetables, owns):
                num = timetable.num_stages
                found |= {(own.side(at, num) or side, timetable.frames) for at, side in enumerate(timetable.grids)}
        return frozenset(found)

    @cached_property
    def searches_dense(self) -> bool:
        """Whether the dense base is one of several schedules."""
        return not self.is_dense and len(self.layout.values_of("dense")) > 1

    @property
    def is_dense(self) -> bool:
        """Whether all of its schedules are the dense base."""
        return {role for role, _ in self.role_blocks()} == {DENSE.name} and not self.narrows

    @property
    def narrows(self) -> bool:
        """Whether some schedule computes some blocks in part."""
        widths = [part for segment in self.segments for part in segment.parts if part.kind is Width]
        return any(set(part.values_of(key)) - {EIGHTHS, None} for part in widths for key in part.fields)

    @property
    def plans_masks(self) -> bool:
        """Whether a calibration run decides where full steps lie."""
        return any("planned" in part.values_of("mask") for part in self.sampling.parts)

    @property
    def starts(self) -> frozenset[Start]:
        """What a first step may take in place of a model call."""
        return frozenset(self.sampling.values_of("start")) - {"model"}

    @property
    def steps(self) -> tuple[int, ...]:
        """The sampler steps that can be chosen."""
        return self.sampling.values_of("sampler_steps")

    def role_blocks(self) -> frozenset[tuple[str, int]]:
        """Give every (role, block) of some schedule of the space."""
        return frozenset(
            (role, block)
            for segments in self.layouts()
            for block, role in enumerate(role for segment in segments for role in segment.roles)
        )

    def layouts(self) -> Iterator[tuple[Segment, ...]]:
        """The segments of every combination of the parameters that decide roles; of others, the first choice."""
        own = {name for segment in self.segments for name, _ in segment.own_domains}
        domains = [(name, domain) for segment in self.segments for name, domain in segment.domains]
        fields = {name: corners(domain) if name in own else corners(domain)[:1] for name, domain in domains}
        for row in itertools.product(*fields.values()):
            chosen = dict(zip(fields, row, strict=True))
            yield build_segments(self.segments, chosen, num_blocks=self.num_blocks)

    @property
    def time_edges(self) -> tuple[float, ...]:
        """The union of the stage edges of every timetable in the space and of the paper's, which every search has as a
        baseline: a batch inside one band suits them all."""
        counts = (1,) if self.timetable is None else self.timetable.values_of("stages")
        return tuple(sorted({edge for count in (PAPER_STAGES, *counts) for edge in equal_edges(count)}))


def _rows(part: Searched) -> list[dict[str, Value]]:
    """Every choice of the parameters of a mapping."""
    searched = {name: domain.values or () for name, domain in part.domains}
    return [dict(zip(searched, row, strict=True)) for row in itertools.product(*searched.values())]


def _remember(known: dict[tuple[Value, ...], Made], key: tuple[Value, ...], made: Made) -> None:
    """Keep what was made; a long search makes more than memory holds, so it is begun anew now and then."""
    if len(known) >= _MOST_REMEMBERED:
        known.clear()
    known[key] = made

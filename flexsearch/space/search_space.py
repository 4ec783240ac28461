"""A search space: named parameters with domains, and a map from any choice of them to a valid candidate."""

import difflib
import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

from flexsearch.errors import UserError
from flexsearch.measurement import canonical_json
from flexsearch.schedule.cache import Cache
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families import Segment
from flexsearch.schedule.families.dense import DENSE
from flexsearch.schedule.fields import declared
from flexsearch.schedule.masks import Masks
from flexsearch.schedule.plan import Plan, Target, lower
from flexsearch.schedule.presets import PAPER_STAGES
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import TokenGrid
from flexsearch.schedule.solver import SolverName, clock_under, is_deterministic
from flexsearch.schedule.timetable import LinearTimetable, Timetable, equal_edges
from flexsearch.space.domains import Domain, Float, Value
from flexsearch.space.layout import build_segments, parse_segments
from flexsearch.space.searched import Searched, parse_searched

Parameters = Mapping[str, Value]
Made = TypeVar("Made")
_CHECK_ALL_UP_TO = 200_000
_PARTS = ("segments", "timetable")
_LAYOUT = ("dense",)
_DEFAULT_STEPS = 50
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
        parts = [*self.segments, *([] if self.timetable is None else [self.timetable]), self.sampling, self.layout]
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
        if self.layout.build(parameters).dense:
            return Candidate(schedule=DensitySchedule.all_dense(self.num_blocks), sampling=self._sampling(parameters))
        key = tuple(parameters[name] for name in self._of_schedules)
        if key not in self._schedules:
            segments, timetable = self._layout(parameters), self._timetable(parameters)
            schedule = DensitySchedule(segments=segments, timetable=timetable)
            _remember(self._schedules, key, schedule)
        return Candidate(schedule=self._schedules[key], sampling=self._sampling(parameters))

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

    @cached_property
    def _of_schedules(self) -> tuple[str, ...]:
        """Parameters that schedules depend on."""
        parts = [*self.segments, *([] if self.timetable is None else [self.timetable])]
        return tuple(name for part in parts for name, _ in part.domains)

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

    def timetables(self) -> list[Timetable]:
        """Give every timetable of the space once."""
        if self.timetable is None:
            return [Timetable()]
        searched = {name: domain.values or () for name, domain in self.timetable.domains}
        rows = itertools.product(*searched.values())
        return list(dict.fromkeys(self._timetable(dict(zip(searched, row, strict=True))).joined() for row in rows))

    @property
    def searches_dense(self) -> bool:
        """Whether the dense base is one of several schedules."""
        return not self.is_dense and len(self.layout.values_of("dense")) > 1

    @property
    def is_dense(self) -> bool:
        """Whether all of its schedules are the dense base."""
        return {role for role, _ in self.role_blocks()} == {DENSE.name}

    @property
    def plans_masks(self) -> bool:
        """Whether a calibration run decides where full steps lie."""
        return any("planned" in part.values_of("mask") for part in self.sampling.parts)

    @property
    def takes_means(self) -> bool:
        """Whether a first step may take the data mean."""
        return "mean" in self.sampling.values_of("start")

    @property
    def steps(self) -> tuple[int, ...]:
        """The sampler steps that can be chosen."""
        return self.sampling.values_of("sampler_steps")

    def role_blocks(self) -> frozenset[tuple[str, int]]:
        """Give every (role, block) of some schedule of the space."""
        return frozenset(
            (role, block)
            for segments in self._layouts()
            for block, role in enumerate(role for segment in segments for role in segment.roles)
        )

    def _layouts(self) -> Iterator[tuple[Segment, ...]]:
        """The segments of every combination of their parameters."""
        fields = {name: _corners(domain) for segment in self.segments for name, domain in segment.domains}
        for row in itertools.product(*fields.values()):
            chosen = dict(zip(fields, row, strict=True))
            yield build_segments(self.segments, chosen, num_blocks=self.num_blocks)

    @property
    def time_edges(self) -> tuple[float, ...]:
        """The union of the stage edges of every timetable in the space and of the paper's, which every search has as a
        baseline: a batch inside one band suits them all."""
        counts = (1,) if self.timetable is None else self.timetable.values_of("stages")
        return tuple(sorted({edge for count in (PAPER_STAGES, *counts) for edge in equal_edges(count)}))


def _remember(known: dict[tuple[Value, ...], Made], key: tuple[Value, ...], made: Made) -> None:
    """Keep what was made; a long search makes more than memory holds, so it is begun anew now and then."""
    if len(known) >= _MOST_REMEMBERED:
        known.clear()
    known[key] = made


def parse_space(entries: Any, *, target: Target, field: str = "space") -> SearchSpace:
    """Read the `space` part of a configuration and check every combination once.

    Args:
        entries: as YAML gives them.
        target: the model that candidates are for.
        field: path of the part, for errors.

    Raises:
        UserError: names the field, the rule, the value and the nearest legal one.
    """
    if not isinstance(entries, Mapping):
        raise UserError(f"must be a mapping, but got {entries!r}", field=field)
    known = (*_PARTS, *_LAYOUT, *(one.key for one in declared(Sampling)))
    for key in entries:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            raise UserError("is not a known field", field=f"{field}.{key}", nearest=close[0] if close else None)
    segments = parse_segments(entries.get("segments"), field=f"{field}.segments")
    timetable = _parse_timetable(entries.get("timetable"), grid=target.shape.grid, field=f"{field}.timetable")
    if timetable is None and any(segment.kind.needs_grid for segment in segments):
        raise UserError("is missing: these segments need sparse grids", field=f"{field}.timetable.clean_grid")
    layout = parse_searched(Layout, {key: entries[key] for key in _LAYOUT if key in entries}, name="", field=field)
    chosen = {key: value for key, value in entries.items() if key not in (*_PARTS, *_LAYOUT)}
    sampling = parse_searched(Sampling, {"sampler_steps": _DEFAULT_STEPS, **chosen}, name="", field=field)
    space = SearchSpace(target=target, segments=segments, timetable=timetable, sampling=sampling, layout=layout)
    _check_layouts(space, field=f"{field}.segments")
    _check_sampling(space, field=field)
    return space


def _parse_timetable(entries: Any, *, grid: TokenGrid, field: str) -> Searched | None:
    if entries is None:
        return None
    if not isinstance(entries, Mapping):
        raise UserError(f"must be a mapping, but got {entries!r}", field=field)
    found = parse_searched(LinearTimetable, entries, name="timetable", field=field)
    shorter = min(grid.height, grid.width)
    for key, most in (("clean_grid", shorter), ("noise_grid", shorter), ("frames", grid.frames)):
        for number in found.values_of(key):
            if number > most:
                raise UserError(f"must be in [1, {most}], but got {number}", field=f"{field}.{key}", nearest=most)
    for number in found.values_of("frames"):
        try:
            grid.pooled(1, frames=number)
        except UserError as error:
            raise error.under(f"{field}.frames") from None
    return found


def _check_layouts(space: SearchSpace, *, field: str) -> None:
    """Builds every combination of segments (they alone can fail), so that no suggested candidate is ever invalid."""
    fields = {name: _corners(domain) for segment in space.segments for name, domain in segment.domains}
    num = math.prod(len(values) for values in fields.values())
    if num > _CHECK_ALL_UP_TO:
        raise UserError(f"at most {_CHECK_ALL_UP_TO} combinations of depths can be checked, but got {num}", field=field)
    try:
        for _ in space._layouts():
            pass
    except UserError as error:
        raise error.under(field) from None


def _check_sampling(space: SearchSpace, *, field: str) -> None:
    """Check that every choice of sampling can be built, and that each has an effect on this base."""
    sampling, target = space.sampling, space.target
    for part in sampling.parts:
        for row in _combinations(part, field=f"{field}.{part.name}"):
            try:
                part.build(row)
            except UserError as error:
                raise error.under(f"{field}.{part.name}") from None
    chosen = {part.name for part in sampling.parts}
    solvers, steps = sampling.values_of("solver") or ("base",), space.steps
    try:
        for solver in solvers:
            for shift in sampling.values_of("shift") or (1.0,):
                clock_under(solver, target.clock, shift=shift, num_tokens=space.grid.num_tokens)
        if "cache" in chosen and not all(is_deterministic(solver, target.clock) for solver in solvers):
            raise UserError(
                f"must take steps without noise, which reuse needs, but {target.clock.scheduler} adds it",
                field="solver",
                nearest="dpmsolver++",
            )
        if "guidance" in chosen and not target.is_guided:
            raise UserError("has no effect: sampling.guidance is 1, so there is one row", field="guidance")
        for part in (one for one in sampling.parts if one.name == "cache"):
            for pattern in part.values_of("pattern"):
                for num in (Sampling(steps=step, solver=solver).num_calls for step in steps for solver in solvers):
                    Cache(pattern=pattern).of(num)
        if space.takes_means:
            _check_start(space, solvers)
        if space.plans_masks and "heun" in solvers:
            raise UserError("has two calls per step, for which no masks are planned", field="solver", nearest="ab2")
        for part in (one for one in sampling.parts if one.name == "gain"):
            for block in part.values_of("at"):
                if block >= space.num_blocks:
                    last = space.num_blocks - 1
                    raise UserError(f"must be at most {last}, but got {block}", field="gain.at", nearest=last)
    except UserError as error:
        raise error.under(field) from None


def _check_start(space: SearchSpace, solvers: Sequence[SolverName]) -> None:
    """Check that the data mean can take the place of every first step."""
    if space.plans_masks:
        raise UserError("may be mean, for which no masks are planned", field="start", nearest="model")
    for solver in solvers:
        if not is_deterministic(solver, space.target.clock):
            raise UserError(
                f"must take steps without noise, which the data mean needs, but {space.target.clock.scheduler} adds it",
                field="solver",
                nearest="dpmsolver++",
            )
        for steps in space.steps:
            sampling = Sampling(steps=steps, solver=solver, start="mean")
            space.plan(Candidate(schedule=DensitySchedule.all_dense(space.num_blocks), sampling=sampling))


def _combinations(part: Searched, *, field: str) -> Iterator[dict[str, Value]]:
    columns = {name: _corners(domain) for name, domain in part.domains}
    num = math.prod(map(len, columns.values()))
    if num > _CHECK_ALL_UP_TO:
        raise UserError(f"at most {_CHECK_ALL_UP_TO} combinations can be checked, but got {num}", field=field)
    return (dict(zip(columns, row, strict=True)) for row in itertools.product(*columns.values()))


def _corners(domain: Domain) -> tuple[Value, ...]:
    """Every value, or both ends of a continuous domain: number and roles of blocks do not depend on such a field."""
    return (domain.low, domain.high) if isinstance(domain, Float) else domain.values

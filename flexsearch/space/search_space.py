"""A search space: named parameters with domains, and a map from any choice of them to a valid candidate."""

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flexsearch.errors import UserError
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.grid import TokenGrid
from flexsearch.schedule.plan import Plan, lower
from flexsearch.schedule.presets import PAPER_STAGES
from flexsearch.schedule.roles import Role
from flexsearch.schedule.segments import Segment
from flexsearch.schedule.timetable import Timetable, equal_edges, linear_timetable
from flexsearch.space.domains import Choice, Domain, Float, Int, Rest, Value, parse_domain
from flexsearch.space.layout import SegmentSpace, build_segments, parse_segments

Parameters = Mapping[str, Value]
_CHECK_ALL_UP_TO = 200_000
_TIMETABLE_FIELDS = ("stages", "clean_grid", "noise_grid", "frames")


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Searched and constant choices over a model of `num_blocks` blocks and dense tokens on `grid`.

    Attributes:
        domains: every searched parameter; all of them are suggested in every trial.
        constants: parameters that the space fixes.
        segments: the layout, which reads its parameters from `domains` by name.
    """

    num_blocks: int
    grid: TokenGrid
    segments: tuple[SegmentSpace, ...]
    domains: Mapping[str, Domain]
    constants: Mapping[str, Value]

    @property
    def size(self) -> int | None:
        """How many choices of parameters there are; None if a domain is continuous."""
        counts = [None if domain.values is None else len(domain.values) for domain in self.domains.values()]
        return None if None in counts else math.prod(count for count in counts if count is not None)

    def build(self, parameters: Parameters) -> Candidate:
        """The candidate of one choice of parameters."""
        values = {**self.constants, **parameters}
        schedule = DensitySchedule(
            segments=build_segments(self.segments, parameters, num_blocks=self.num_blocks),
            timetable=self._timetable(values),
        )
        return Candidate(schedule=schedule, sampling=Sampling(steps=int(values["sampler_steps"] or 0)))

    def _timetable(self, values: Mapping[str, Any]) -> Timetable:
        if "timetable.clean_grid" not in values:
            return Timetable()
        stages, clean = values["timetable.stages"], values["timetable.clean_grid"]
        noise = values.get("timetable.noise_grid", clean)
        frames = values.get("timetable.frames", self.grid.frames)
        return linear_timetable(
            stages=stages,
            clean_grid=clean,
            noise_grid=noise,
            frames=None if frames == self.grid.frames else frames,
        )

    def plan(self, schedule: DensitySchedule) -> Plan:
        """What a schedule lowers to on the model of this space."""
        return lower(schedule, num_blocks=self.num_blocks, grid=self.grid)

    def choices(self) -> Iterator[dict[str, Value]]:
        """Every choice of parameters of a finite space, in lexicographic order."""
        names = list(self.domains)
        columns = [domain.values for domain in self.domains.values()]
        if any(column is None for column in columns):
            raise ValueError("a space with a float domain cannot be enumerated")
        for row in itertools.product(*(column for column in columns if column is not None)):
            yield dict(zip(names, row, strict=True))

    def sample(self, generator: random.Random) -> dict[str, Value]:
        """One choice of parameters, each drawn uniformly from its domain."""
        return {
            name: generator.uniform(domain.low, domain.high)
            if isinstance(domain, Float)
            else generator.choice(domain.values)
            for name, domain in self.domains.items()
        }

    def candidates(self, *, up_to: int) -> list[Candidate]:
        """Every candidate once; those of `up_to` draws, always the same, where there are more choices than that."""
        if self.size is not None and self.size <= up_to:
            choices = list(self.choices())
        else:
            generator = random.Random(0)
            choices = [self.sample(generator) for _ in range(up_to)]
        return list({candidate.digest: candidate for candidate in map(self.build, choices)}.values())

    def timetables(self) -> list[Timetable]:
        """Every timetable of the space once; continuous domains have none here, as a timetable has whole numbers."""
        searched = {name: domain.values or () for name, domain in self.domains.items() if name.startswith("timetable.")}
        rows = itertools.product(*searched.values())
        return list(
            dict.fromkeys(self._timetable({**self.constants, **dict(zip(searched, row, strict=True))}) for row in rows)
        )

    @property
    def sampler_steps(self) -> tuple[int, ...]:
        """The sampler steps that can be chosen."""
        domain = self.domains.get("sampler_steps")
        values = (self.constants["sampler_steps"],) if domain is None else domain.values or ()
        return tuple(int(value or 1) for value in values)

    def recover_blocks(self) -> tuple[int, ...]:
        """Every block at which some schedule of the space recovers its dense tokens."""
        blocks = {
            block
            for segments in self._layouts()
            for block, role in enumerate(role for segment in segments for role in segment.roles)
            if role == "recover"
        }
        return tuple(sorted(blocks))

    def roles(self) -> frozenset[Role]:
        """Every role that a block plays in some schedule of the space."""
        return frozenset(role for segments in self._layouts() for segment in segments for role in segment.roles)

    def _layouts(self) -> Iterator[tuple[Segment, ...]]:
        """The segments of every combination of depths."""
        depths = {name: domain.values or () for segment in self.segments for name, domain in segment.domains}
        for row in itertools.product(*depths.values()):
            chosen = dict(zip(depths, row, strict=True))
            yield build_segments(self.segments, chosen, num_blocks=self.num_blocks)

    @property
    def time_edges(self) -> tuple[float, ...]:
        """The union of the stage edges of every timetable in the space and of the paper's, which every search has as a
        baseline: a batch inside one band suits them all."""
        stages = self.domains.get("timetable.stages")
        counts = (self.constants.get("timetable.stages", 1),) if stages is None else stages.values or ()
        return tuple(sorted({edge for count in (PAPER_STAGES, *counts) for edge in equal_edges(int(count or 1))}))


def parse_space(entries: Any, *, num_blocks: int, grid: TokenGrid, field: str = "space") -> SearchSpace:
    """Reads the `space` part of a configuration and checks every combination once.

    Raises:
        UserError: names the field, the rule, the value and the nearest legal one.
    """
    if not isinstance(entries, Mapping):
        raise UserError(f"must be a mapping, but got {entries!r}", field=field)
    unknown = sorted(set(entries) - {"segments", "timetable", "sampler_steps"})
    if unknown:
        raise UserError("unknown field, a space has segments, timetable, sampler_steps", field=f"{field}.{unknown[0]}")
    segments = parse_segments(entries.get("segments"), field=f"{field}.segments")
    parsed = dict(_parse_timetable(entries.get("timetable"), grid=grid, field=f"{field}.timetable"))
    if any(segment.family == "sdtm" for segment in segments) and "timetable.clean_grid" not in parsed:
        raise UserError("is missing: sdtm segments need sparse grids", field=f"{field}.timetable.clean_grid")
    parsed["sampler_steps"] = _whole(entries.get("sampler_steps", 50), least=1, field=f"{field}.sampler_steps")
    domains = {name: domain for segment in segments for name, domain in segment.domains}
    domains |= {name: value for name, value in parsed.items() if isinstance(value, Int | Float | Choice)}
    constants = {name: value for name, value in parsed.items() if name not in domains and not isinstance(value, Rest)}
    space = SearchSpace(
        num_blocks=num_blocks,
        grid=grid,
        segments=segments,
        domains=domains,
        constants={name: value for name, value in constants.items() if not isinstance(value, Int | Float | Choice)},
    )
    _check_layouts(space, field=f"{field}.segments")
    return space


def _whole(value: Any, *, least: int, field: str, most: int | None = None) -> Value | Domain:
    parsed = parse_domain(value, field=field)
    if isinstance(parsed, Float | Rest):
        raise UserError(f"must be a whole number or an int or choice domain, but got {value!r}", field=field)
    for number in parsed.values if isinstance(parsed, Int | Choice) else (parsed,):
        if isinstance(number, bool) or not isinstance(number, int):
            raise UserError(f"must be a whole number, but got {number!r}", field=field)
        if number < least or (most is not None and number > most):
            limits = f"at least {least}" if most is None else f"in [{least}, {most}]"
            nearest = least if number < least else most
            raise UserError(f"must be {limits}, but got {number}", field=field, nearest=nearest)
    return parsed


def _parse_timetable(entries: Any, *, grid: TokenGrid, field: str) -> Iterator[tuple[str, Value | Domain]]:
    if entries is None:
        return
    if not isinstance(entries, Mapping):
        raise UserError(f"must be a mapping, but got {entries!r}", field=field)
    unknown = sorted(set(entries) - set(_TIMETABLE_FIELDS))
    if unknown:
        raise UserError(f"unknown field, a timetable has {list(_TIMETABLE_FIELDS)}", field=f"{field}.{unknown[0]}")
    yield "timetable.stages", _whole(entries.get("stages", 1), least=1, field=f"{field}.stages")
    shorter = min(grid.height, grid.width)
    for name in ("clean_grid", "noise_grid"):
        if name in entries:
            yield f"timetable.{name}", _whole(entries[name], least=1, most=shorter, field=f"{field}.{name}")
    if "frames" in entries:
        yield "timetable.frames", _frames(entries["frames"], grid=grid, field=f"{field}.frames")
    if "clean_grid" not in entries:
        raise UserError("is missing", field=f"{field}.clean_grid", nearest=shorter // 2)


def _frames(value: Any, *, grid: TokenGrid, field: str) -> Value | Domain:
    """Frames of the sparse grids: divisors of the video's."""
    parsed = _whole(value, least=1, field=field, most=grid.frames)
    for number in parsed.values if isinstance(parsed, Int | Choice) else (parsed,):
        assert isinstance(number, int), "checked above"
        try:
            grid.pooled(1, frames=number)
        except UserError as error:
            raise error.under(field) from None
    return parsed


def _check_layouts(space: SearchSpace, *, field: str) -> None:
    """Builds every combination of depths (they alone can fail), so that no suggested candidate is ever invalid."""
    depths = {name: domain.values or () for segment in space.segments for name, domain in segment.domains}
    num = math.prod(len(values) for values in depths.values())
    if num > _CHECK_ALL_UP_TO:
        raise UserError(f"at most {_CHECK_ALL_UP_TO} combinations of depths can be checked, but got {num}", field=field)
    try:
        for _ in space._layouts():
            pass
    except UserError as error:
        raise error.under(field) from None

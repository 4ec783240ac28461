"""Baselines of every search: what is free on the dense base (steps, solver, shift, gain, start, reuse), and papers'.

Where the space searches one of these, the dense base gets the best of it too, so that what is searched is compared with
the strongest of what is free. Which is best is measured: baselines come in waves, and each follows from the results of
those before. Which steps compute both rows of guidance is left to the search: that trades quality for time.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from flexsearch.errors import UserError
from flexsearch.schedule.cache import Cache
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families.keep import Keep
from flexsearch.schedule.gain import NO_GAIN, Gain
from flexsearch.schedule.presets import PRESETS, diffcr_schedule, dydit_schedules, paper_schedule
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.solver import SolverName, is_deterministic
from flexsearch.schedule.start import Start
from flexsearch.space.domains import Float
from flexsearch.space.search_space import SearchSpace
from flexsearch.study.evenly import evenly
from flexsearch.study.settings import SearchSettings

if TYPE_CHECKING:  # a plan has no trials, and waits for no database
    from flexsearch.study.store import TrialRecord

MOST_STEPS = 6
MOST_GAINS = 6
MOST_SHIFTS = 6
FINE_TUNED = "fine-tuned"
"""Names of the dense base that was fine-tuned as the schedules are begin so."""
FORA_INTERVALS = (2, 3)
FORA_AT = 2
"""Uniform reuse is evaluated at so many of the largest numbers of steps: at few steps there is nothing to reuse."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A candidate that every search evaluates first. The dense base is fine-tuned only where its name says so."""

    name: str
    candidate: Candidate


Results = Mapping[str, float]
"""Quality of the baselines that were measured, by the digest of their candidates; those that failed are absent, and so
is the dense base that was fine-tuned, which has the digest of the one that was not."""
Wave = Callable[[Results], Sequence[Baseline]]
"""Gives baselines that follow from the results of all that came before, those among them that are known already."""


def baseline_steps(space: SearchSpace, settings: SearchSettings) -> list[int]:
    """Pick sampler steps of the dense base, most first: the configured ones, or those of the space, at most six."""
    return evenly(sorted(set(settings.baseline_steps or space.steps), reverse=True), MOST_STEPS)


def baselines_of(space: SearchSpace, settings: SearchSettings) -> list[Baseline]:
    """List the baselines that are known before anything runs, the dense base first.

    It runs under its own solver at every number of steps, and under the others of the space at a middle one. The
    paper's schedules run at `paper_steps`, by default the most. "FlexDiT paper" is its r in [0.61, 0.86] schedule,
    scaled to this model; where the paper has others for just this model, they follow under their names. The dense base
    that is fine-tuned as they are stands before them where that is asked for.
    """
    made = _Maker(space=space, settings=settings)
    dense = [*(Sampling(steps=num) for num in made.steps), *(made.middle(solver) for solver in made.solvers)]
    tuned = made.fine_tuned(dense) if made.is_plain else []
    return [*made.dense(dense), *tuned, *made.papers(Sampling(steps=1))]


def is_fine_tuned(baseline: str | None) -> bool:
    """Tell whether a trial, by the name of its baseline, is the dense base fine-tuned as the schedules are."""
    return baseline is not None and baseline.startswith(FINE_TUNED)


def is_kept(baseline: str | None, candidate: Candidate) -> bool:
    """Tell whether a trial keeps weights of its own: all but the dense base's own baselines do."""
    return baseline is None or is_fine_tuned(baseline) or not candidate.schedule.is_dense


def dense_latencies(records: "Iterable[TrialRecord]", *, latency: str) -> dict[int, float]:
    """Give the latency in ms of the dense base as it comes, by its steps, of its complete trials."""
    return {
        record.candidate.sampling.steps: record.measurements[latency].value
        for record in records
        if record.state == "complete" and record.baseline is not None and _is_plain(record)
    }


def _is_plain(record: "TrialRecord") -> bool:
    sampling = record.candidate.sampling
    is_trained = record.num_updates or is_fine_tuned(record.baseline)
    return record.candidate.schedule.is_dense and sampling == Sampling(steps=sampling.steps) and not is_trained


def waves_of(space: SearchSpace, settings: SearchSettings) -> list[Wave]:
    """List the waves of further baselines: none where steps are all that the dense base can choose.

    Where there are several shifts, the dense base with each of them at a middle number of steps. Then its curve over
    steps under the best second-order solver; then, under the best of all solvers, it with every gain at that middle;
    then the best gain's curve, uniform reuse, and the paper's schedules. Last, where the first step may call no model,
    all of that again so begun: every shift and gain at the middle, the best one's curve, and the papers' schedules.
    """
    made = _Maker(space=space, settings=settings)
    if made.is_plain:
        return []
    shifts = [made.shifts_at_the_middle] if len(made.shifts) > 1 else []
    starts = [made.starts_at_the_middle, made.curve_of_a_start] if made.starts else []
    return [*shifts, made.curve_of_a_solver, made.gains_at_the_middle, made.under_the_best, *starts]


@dataclass(frozen=True, kw_only=True)
class _Maker:
    """Make the baselines of a space."""

    space: SearchSpace
    settings: SearchSettings

    @cached_property
    def steps(self) -> list[int]:
        return baseline_steps(self.space, self.settings)

    @cached_property
    def solvers(self) -> tuple[SolverName, ...]:
        """The solvers of the space beside the base's own: all of second order."""
        return tuple(one for one in self.space.sampling.values_of("solver") if one != "base")

    @cached_property
    def gains(self) -> list[Gain]:
        """Gains of the stream in the space, at most six. One of the skip does nothing to the dense base."""
        part = next((one for one in self.space.sampling.parts if one.name == "gain"), None)
        if part is None:
            return []
        stream = part.fields["stream"]
        values = (stream.low, stream.high) if isinstance(stream, Float) else part.values_of("stream")
        gains = (Gain(stream=one, at=at) for one in values for at in part.values_of("at"))
        return evenly([one for one in dict.fromkeys(gains) if one != NO_GAIN], MOST_GAINS)

    @cached_property
    def shifts(self) -> list[float]:
        """Shifts of the space, at most six."""
        domain = self.space.sampling.fields.get("shift")
        values = (domain.low, domain.high) if isinstance(domain, Float) else self.space.sampling.values_of("shift")
        return evenly(list(dict.fromkeys(values)) or [1.0], MOST_SHIFTS)

    @cached_property
    def starts(self) -> tuple[Start, ...]:
        """What the space has in place of a first model call."""
        return tuple(sorted(self.space.starts))

    @cached_property
    def reuses(self) -> bool:
        return any(one.name == "cache" for one in self.space.sampling.parts)

    @property
    def is_plain(self) -> bool:
        """Whether steps are all that the dense base can choose."""
        return not (self.solvers or self.gains or self.starts or self.reuses or self.shifts != [1.0])

    def middle(self, solver: SolverName) -> Sampling:
        """Give the middle of the steps; of Heun's method, whose steps take two calls, as many as take no more calls."""
        middle = self.steps[len(self.steps) // 2]
        steps = (middle + 1) // 2 if solver == "heun" else middle
        return Sampling(steps=steps, solver=solver, shift=1.0 if solver == "base" else self.shifts[0])

    def shifts_at_the_middle(self, results: Results) -> list[Baseline]:
        """Give every shift under the best solver so far."""
        best = self._best_solver(("base", *self.solvers), results)
        return [] if best is None else self.dense(replace(best, shift=shift) for shift in self.shifts)

    def curve_of_a_solver(self, results: Results) -> list[Baseline]:
        """Give all numbers of steps under the best of the solvers that the space adds."""
        best = self._best_solver(self.solvers or (("base",) if self.shifts != [1.0] else ()), results)
        return [] if best is None else self.dense(replace(best, steps=num) for num in self.steps)

    def gains_at_the_middle(self, results: Results) -> list[Baseline]:
        """Give every gain under the best solver so far."""
        best = self._best_solver(("base", *self.solvers), results)
        return [] if best is None else self.dense(replace(best, gain=gain) for gain in self.gains)

    def under_the_best(self, results: Results) -> list[Baseline]:
        """Give what is left, under the best solver and gain: all steps, uniform reuse, a fine-tune, the papers'."""
        best = self._best_gain(results)
        if best is None:
            return []
        curve = [replace(best, steps=num) for num in self.steps]
        return [
            *self.dense(curve),
            *self._fora(results),
            *self.fine_tuned(curve),
            *self.papers(replace(best, gain=NO_GAIN)),
        ]

    def starts_at_the_middle(self, results: Results) -> list[Baseline]:
        """Give every start under the best solver: with the best shift and gain so far, with every shift, every gain."""
        best = self._best_gain(results)
        return [] if best is None else self.dense(self._started(best))

    def curve_of_a_start(self, results: Results) -> list[Baseline]:
        """Give all numbers of steps under the best start, wherever there is a second step, and the papers'."""
        best = self._best_gain(results)
        started = None if best is None else self._best(self._started(best), results)
        if started is None:
            return []
        curve = self._able(replace(started, steps=num) for num in self.steps)
        return [*self.dense(curve), *self.papers(replace(started, gain=NO_GAIN))]

    def _started(self, best: Sampling) -> list[Sampling]:
        """Variants of a sampling whose first step calls no model."""
        variants = [best, *(replace(best, shift=one) for one in self.shifts)]
        variants += [replace(best, gain=one) for one in (NO_GAIN, *self.gains)]
        return self._able(replace(one, start=start) for start in self.starts for one in dict.fromkeys(variants))

    def _able(self, samplings: Iterable[Sampling]) -> list[Sampling]:
        """Those whose first step needs no call, at the configured steps too: it is at pure noise, and not the last."""
        found = []
        for one in samplings:
            with suppress(UserError):
                self.space.plan(self._candidate(one))
                found.append(one)
        return found

    def _fora(self, results: Results) -> list[Baseline]:
        """The dense base with the outputs of its modules reused for N - 1 of N calls (FORA, arXiv 2407.01425)."""
        able = [one for one in ("base", *self.solvers) if is_deterministic(one, self.space.target.clock)]
        best = self._best_solver(able, results)
        if best is None or not self.reuses:
            return []
        found = []
        for interval in FORA_INTERVALS:
            for plain in (replace(best, steps=num) for num in self.steps[:FORA_AT]):
                full = math.ceil(plain.num_calls / interval) / plain.num_calls
                cache = Cache(full=full, first=0, last=0, order=0, reuse="modules")
                found += self.dense([replace(plain, cache=cache)], name=f"fora{interval}")
        return found

    def dense(self, samplings: Iterable[Sampling], *, name: str = "dense") -> list[Baseline]:
        """Give the dense base under samplings."""
        return [
            Baseline(name=self._name(name, one, self.steps[0]), candidate=self._candidate(one)) for one in samplings
        ]

    def fine_tuned(self, samplings: Sequence[Sampling]) -> list[Baseline]:
        """Give the same with every schedule's fine-tune, where that is asked for and something is trained."""
        if not self.settings.fine_tuned_dense or self.space.is_dense:
            return []
        return self.dense(samplings, name=f"{FINE_TUNED} dense" if self.is_plain else FINE_TUNED)

    def papers(self, best: Sampling) -> list[Baseline]:
        """Give the paper's schedules under a solver and its shift, and those of DyDiT and DiffCR where the space has
        their axes; none in a space without training, which they need."""
        space = self.space
        if space.is_dense:
            return []
        try:
            paper = paper_schedule(num_blocks=space.num_blocks, grid=space.grid)
        except UserError:  # fewer than five blocks: the paper's layout does not exist
            return []
        schedules = {"FlexDiT paper" if self.is_plain else "paper": paper}
        schedules |= {
            name: preset.schedule
            for name, preset in PRESETS.items()
            if preset.shape == space.target.shape and preset.schedule != paper
        }
        schedules |= dydit_schedules(space.num_blocks) if space.narrows else {}
        if any(issubclass(segment.kind, Keep) for segment in space.segments):
            schedules["diffcr"] = diffcr_schedule(space.num_blocks)
        steps = sorted(set(self.settings.paper_steps), reverse=True) or self.steps[:1]
        return [
            Baseline(
                name=self._name(name, sampling, steps[0]),
                candidate=Candidate(schedule=schedule, sampling=sampling),
            )
            for name, schedule in schedules.items()
            for sampling in self._able(replace(best, steps=num) for num in steps)
        ]

    def _name(self, what: str, sampling: Sampling, most_steps: int) -> str:
        """Spell a baseline; in one word where more than steps differs: dense-5-ab2-gain0.9@4."""
        if self.is_plain:
            return what if sampling.steps == most_steps else f"{what}, {sampling.steps} steps"
        parts = [what, str(sampling.steps)]
        if sampling.solver != "base":
            parts.append(sampling.solver)
        if sampling.shift != 1:
            parts.append(f"shift{sampling.shift:g}")
        if sampling.start != "model":
            parts.append(sampling.start)
        if sampling.gain != NO_GAIN:
            parts.append(f"gain{sampling.gain.stream:g}@{sampling.gain.at}")
        return "-".join(parts)

    def _candidate(self, sampling: Sampling) -> Candidate:
        return Candidate(schedule=DensitySchedule.all_dense(self.space.num_blocks), sampling=sampling)

    def _best_gain(self, results: Results) -> Sampling | None:
        """The best solver and shift with its best gain, at the middle."""
        solver = self._best_solver(("base", *self.solvers), results)
        if solver is None:
            return None
        return self._best((replace(solver, gain=gain) for gain in (NO_GAIN, *self.gains)), results)

    def _best_solver(self, solvers: Sequence[SolverName], results: Results) -> Sampling | None:
        """The best solver with its best shift, at the middle; the base's own also without any."""
        middles = [self.middle(solver) for solver in solvers]
        shifted = (replace(one, shift=shift) for one in middles for shift in self.shifts)
        return self._best(dict.fromkeys((*middles, *shifted)), results)

    def _best(self, samplings: Iterable[Sampling], results: Results) -> Sampling | None:
        """The sampling under which the dense base is best, the first of equals; None if it was measured under none."""
        digests = {sampling: self._candidate(sampling).digest for sampling in samplings}
        known = [sampling for sampling, digest in digests.items() if digest in results]
        return min(known, key=lambda one: results[digests[one]], default=None)

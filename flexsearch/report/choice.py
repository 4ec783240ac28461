"""Choose one trial: the largest claim, the best within a latency, the fastest within a quality, or the knee of a front.

The knee is the point farthest from the chord between the ends of the front, both objectives scaled to [0, 1]: I. Das,
"On characterizing the knee of the Pareto curve based on normal-boundary intersection", Structural Optimization 18
(1999), for two objectives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flexsearch.errors import UserError
from flexsearch.measurement import rounded
from flexsearch.report.claim import NO_CLAIM, sentences
from flexsearch.report.front import Front
from flexsearch.report.gain import Gain, gain_of
from flexsearch.report.points import FrontPoint, Points, is_free
from flexsearch.report.speedup import Speedup, claims_of, speedup_of

_FEWEST = 3  # points of a front with a knee


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A trial and what speaks for it.

    Attributes:
        point: the trial with its values.
        speedup: over what is free at equal quality; None of what is free itself.
        gain: beside what is free at equal latency, for programs.
        beside_free: `speedup` in sentences.
        rule: how it was chosen, in words.
        quality_name: of the first objective.
        is_confirmed: its values were measured again.
        faster_as_good: the fastest faster trial whose quality is within noise of it; None if there is none.
        better_as_fast: the best better trial whose latency is within noise of it; None if there is none.
        quality_margin: differences of quality below it may be noise; None if noise was not measured.
    """

    point: FrontPoint
    speedup: Speedup | None
    gain: Gain
    beside_free: Sequence[str]
    rule: str
    quality_name: str
    is_confirmed: bool
    faster_as_good: FrontPoint | None
    better_as_fast: FrontPoint | None
    quality_margin: float | None

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values."""
        record = self.point.record

        def number(point: FrontPoint | None) -> int | None:
            return None if point is None else point.record.number

        return {
            "trial": record.number,
            "baseline": record.baseline,
            "free": is_free(record),
            "schedule": record.candidate.to_dict(),
            "sampling": str(record.candidate.sampling),
            "digest": record.digest,
            "rule": self.rule,
            "values": {self.quality_name: self.point.distance, "latency_ms": self.point.latency_ms},
            "confirmed": self.is_confirmed,
            "noise_margin": self.quality_margin,
            "faster_within_noise": number(self.faster_as_good),
            "better_within_noise": number(self.better_as_fast),
            "free_at_equal_latency": self.gain.free_quality,
            "speedup": None if self.speedup is None else self.speedup.to_dict(),
            "gain": self.gain.to_dict(),
            "why": reasons(self),
        }


def choose(
    front: Front,
    *,
    max_latency_ms: float | None = None,
    max_quality: float | None = None,
    knee: bool = False,
) -> Choice:
    """Choose the trial that one of three rules picks; without any, the one of the largest claim.

    Args:
        front: at least one complete trial.
        max_latency_ms: take the best within it.
        max_quality: take the fastest within it.
        knee: take the knee.

    Raises:
        UserError: more than one rule is given, no point keeps the limit, there is no knee or no claim.
    """
    given = [max_latency_ms is not None, max_quality is not None, knee]
    if sum(given) > 1:
        raise UserError(
            f"at most one of --max-latency, --max-quality and --knee may be given, but got {sum(given)}",
            nearest="--knee",
        )
    points, quality = front.best_known, front.objectives[0].name
    if not points.points:
        raise UserError("no trial is complete yet, so there is nothing to choose from", field=front.study)
    best = points.best
    if max_latency_ms is not None:
        within = [one for one in best if one.latency_ms <= max_latency_ms]
        if not within:
            raise _out_of_reach("--max-latency", max_latency_ms, "takes at most {} ms/image", best[0].latency_ms)
        chosen, rule = within[-1], f"the best {quality} within {max_latency_ms:g} ms/image"
    elif max_quality is not None:
        within = [one for one in best if one.distance <= max_quality]
        if not within:
            raise _out_of_reach("--max-quality", max_quality, f"has {quality} of at most {{}}", best[-1].distance)
        chosen, rule = within[0], f"the fastest with {quality} of at most {max_quality:g}"
    elif not knee:
        claims = claims_of(points)
        if not claims:
            raise UserError(NO_CLAIM.format(quality=quality), field=front.study, nearest="--knee")
        chosen = claims[0][0]
        rule = f"the one of the largest speed-up at equal {quality}, by the lower end of its interval"
    else:
        rule = f"the knee by {quality}: farthest from the straight line between the ends of the front"
        chosen = find_knee(best)
    faster, better = _within_noise(points, chosen)
    return Choice(
        point=chosen,
        speedup=speedup_of(points, chosen),
        gain=gain_of(points, chosen),
        beside_free=sentences(points, chosen, quality=quality),
        rule=rule,
        quality_name=quality,
        is_confirmed=points.is_confirmed,
        faster_as_good=faster,
        better_as_fast=better,
        quality_margin=points.quality_margin,
    )


def _out_of_reach(option: str, limit: float, what: str, nearest: float) -> UserError:
    """The nearest value is rounded up, so that it is within reach as it is printed."""
    shown = f"{nearest:.4g}"
    if float(shown) < nearest:
        shown = f"{nearest * 1.0005:.4g}"
    return UserError(f"no point of the front {what.format(f'{limit:g}')}", field=option, nearest=shown)


def find_knee(best: Sequence[FrontPoint]) -> FrontPoint:
    """Find the knee of non-dominated points, fastest first.

    Raises:
        UserError: there are fewer than three, or none lies below the chord.
    """
    if len(best) < _FEWEST:
        raise UserError(
            f"a knee needs a front of at least {_FEWEST} points, but got {len(best)}", field="--knee", nearest=None
        )
    fast, good = best[0], best[-1]
    wide, high = good.latency_ms - fast.latency_ms, fast.distance - good.distance

    def below_chord(one: FrontPoint) -> float:  # times the square root of 2; the chord is x + y = 1
        return 1 - (one.latency_ms - fast.latency_ms) / wide - (one.distance - good.distance) / high

    found = max(best, key=below_chord)
    if below_chord(found) <= 0:
        raise UserError("no point of the front lies below its chord", field="--knee", nearest="--max-latency MS")
    return found


def _within_noise(points: Points, chosen: FrontPoint) -> tuple[FrontPoint | None, FrontPoint | None]:
    """Find the fastest faster point that is as good within noise, and the best better one that is as fast."""
    faster, better = None, None
    if points.quality_margin is not None:
        worst = chosen.distance + points.quality_margin
        as_good = (one for one in points.points if one.latency_ms < chosen.latency_ms and one.distance <= worst)
        faster = next(as_good, None)
    if points.latency_margin is not None:
        slowest = chosen.latency_ms * (1 + points.latency_margin)
        rivals = [one for one in points.points if one.distance < chosen.distance and one.latency_ms <= slowest]
        better = min(rivals, key=lambda one: one.distance, default=None)
    return faster, better


def reasons(choice: Choice) -> list[str]:
    """Say why this trial, in sentences."""
    point, name = choice.point, choice.quality_name
    record = point.record
    source = (
        "measured again by `confirm`" if choice.is_confirmed else "as searched; `flexsearch confirm` would check it"
    )
    of = "" if point.at_infinity is None else " (of infinitely many images)"
    lines = [
        f"Trial {record.number} is {choice.rule}.",
        f"{name} {point.distance:.4g}{of} at {point.latency_ms:.4g} ms/image, {source}.",
    ]
    if record.baseline is not None:
        lines.append(f"It is a baseline ({record.baseline}): no searched point is better here.")
    else:
        lines += choice.beside_free
    if choice.quality_margin is None:
        lines.append("The noise of this run was not measured: how sure the order of neighbours is, is not known.")
    elif choice.faster_as_good is None and choice.better_as_fast is None:
        lines.append("No faster trial is as good within noise, and no better one as fast.")
    if (faster := choice.faster_as_good) is not None:
        lines.append(
            f"Within noise: trial {faster.record.number} is {1 - faster.latency_ms / point.latency_ms:.1%} faster, its "
            f"{name} {faster.distance:.4g} (differences below {rounded(choice.quality_margin or 0.0, 2)} may be noise)."
        )
    if (better := choice.better_as_fast) is not None:
        lines.append(
            f"Within noise: trial {better.record.number} is better ({name} {better.distance:.4g}) and "
            f"{better.latency_ms / point.latency_ms - 1:+.1%} slower, which the timing can hardly tell."
        )
    return lines

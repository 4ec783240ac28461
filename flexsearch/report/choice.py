"""Choosing one trial: the best within a latency, the fastest within a quality, or the knee of a front.

The best is by outlook, what long training should make of a trial, where it is known; by quality if that is asked for.

The knee is the point farthest from the chord between the ends of the front, both objectives scaled to [0, 1]: I. Das,
"On characterizing the knee of the Pareto curve based on normal-boundary intersection", Structural Optimization 18
(1999), for two objectives.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from flexsearch.errors import UserError
from flexsearch.report.claims import quality_at
from flexsearch.report.evidence import Evidence, FrontPoint, evidence_of, non_dominated
from flexsearch.report.front import Front

By = Literal["outlook", "quality"]
_FEWEST = 3  # points of a front with a knee


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A trial and what speaks for it.

    Attributes:
        known: the trial with its values.
        rule: how it was chosen, in words.
        quality_name: of the first objective.
        is_confirmed: its values were measured again.
        faster_as_good: the fastest faster trial whose quality is within noise of it; None if there is none.
        better_as_fast: the best better trial whose latency is within noise of it; None if there is none.
        dense_quality: of the dense base at fewer steps and equal latency; None where none is as fast.
        speedup: over the dense base at the same sampler steps; None where that was not measured.
        quality_margin: differences of quality below it may be noise; None if noise was not measured.
        outlook: of the trial, if the choice was by it; then nothing is within noise, and `ahead_so_far` may be given.
        ahead_so_far: the trial that is as fast with the best quality; None if it is this one.
    """

    known: FrontPoint
    rule: str
    quality_name: str
    is_confirmed: bool
    faster_as_good: FrontPoint | None
    better_as_fast: FrontPoint | None
    dense_quality: float | None
    speedup: float | None
    quality_margin: float | None
    predicted_distance: float | None = None
    ahead_so_far: FrontPoint | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        record, ahead = self.known.record, self.dense_quality
        return {
            "trial": record.number,
            "baseline": record.baseline,
            "schedule": record.candidate.to_dict(),
            "digest": record.digest,
            "rule": self.rule,
            "values": {self.quality_name: self.known.quality, "latency_ms": self.known.latency_ms},
            "confirmed": self.is_confirmed,
            "noise_margin": self.quality_margin,
            "faster_within_noise": None if self.faster_as_good is None else self.faster_as_good.record.number,
            "better_within_noise": None if self.better_as_fast is None else self.better_as_fast.record.number,
            "outlook": self.predicted_distance,
            "ahead_so_far": None if self.ahead_so_far is None else self.ahead_so_far.record.number,
            "dense_at_equal_latency": ahead,
            "speedup_at_same_steps": self.speedup,
            "why": reasons(self),
        }


def choose(
    front: Front,
    *,
    max_latency_ms: float | None = None,
    max_quality: float | None = None,
    knee: bool = False,
    by: By | None = None,
) -> Choice:
    """The trial that one of three rules picks.

    Args:
        front: at least one complete trial.
        max_latency_ms: take the best within it.
        max_quality: take the fastest within it, which is by quality.
        knee: take the knee.
        by: what the best is by; None takes the outlook where it is known, else the quality.

    Raises:
        UserError: not exactly one rule is given, no point keeps the limit, there is no knee, or no outlook is known.
    """
    given = [max_latency_ms is not None, max_quality is not None, knee]
    if sum(given) != 1:
        raise UserError(
            f"exactly one of --max-latency, --max-fid and --knee must be given, but got {sum(given)}", nearest="--knee"
        )
    evidence, quality = evidence_of(front), front.objectives[0].name
    if not evidence.known:
        raise UserError("no trial is complete yet, so there is nothing to choose from", field=front.study)
    if by == "outlook" and (max_quality is not None or not front.predicted_distances):
        why = (
            "goes with --max-latency and --knee only"
            if front.predicted_distances
            else "is not known: no drift was measured"
        )
        raise UserError(why, field="--by outlook", nearest="--by quality")
    by_predicted_distance = by != "quality" and max_quality is None and bool(front.predicted_distances)
    best, name = (_by_predicted_distance(front), "outlook") if by_predicted_distance else (evidence.best, quality)
    if max_latency_ms is not None:
        within = [one for one in best if one.latency_ms <= max_latency_ms]
        if not within:
            raise _out_of_reach("--max-latency", max_latency_ms, "takes at most {} ms/image", best[0].latency_ms)
        chosen, rule = within[-1], f"the best {name} within {max_latency_ms:g} ms/image"
    elif max_quality is not None:
        within = [one for one in best if one.quality <= max_quality]
        if not within:
            raise _out_of_reach("--max-fid", max_quality, f"has {quality} of at most {{}}", best[-1].quality)
        chosen, rule = within[0], f"the fastest with {quality} of at most {max_quality:g}"
    else:
        rule = f"the knee by {name}: farthest from the straight line between the ends of the front"
        chosen = find_knee(best)
    if by_predicted_distance:  # what it has is still told by the best evidence of it
        number = chosen.record.number
        evidence = evidence if number in evidence.by_number else evidence_of(front, only_searched=True)
        chosen = evidence.by_number[number]
        return _explained_by_predicted_distance(
            chosen, evidence, rule=rule, quality_name=quality, predicted_distance=front.predicted_distances[number]
        )
    return _explained(chosen, evidence, rule=rule, quality_name=quality)


def _by_predicted_distance(front: Front) -> tuple[FrontPoint, ...]:
    """What no other trial beats in outlook and latency, fastest first, with the outlook for its quality."""
    searched = evidence_of(front, only_searched=True).known
    known = [one for one in searched if one.record.number in front.predicted_distances]
    return non_dominated([replace(one, quality=front.predicted_distances[one.record.number]) for one in known])


def _out_of_reach(option: str, limit: float, what: str, nearest: float) -> UserError:
    """The nearest value is rounded up, so that it is within reach as it is printed."""
    shown = f"{nearest:.4g}"
    if float(shown) < nearest:
        shown = f"{nearest * 1.0005:.4g}"
    return UserError(f"no point of the front {what.format(f'{limit:g}')}", field=option, nearest=shown)


def find_knee(best: Sequence[FrontPoint]) -> FrontPoint:
    """The knee of non-dominated points, fastest first.

    Raises:
        UserError: there are fewer than three, or none lies below the chord.
    """
    if len(best) < _FEWEST:
        raise UserError(
            f"a knee needs a front of at least {_FEWEST} points, but got {len(best)}", field="--knee", nearest=None
        )
    fast, good = best[0], best[-1]
    wide, high = good.latency_ms - fast.latency_ms, fast.quality - good.quality

    def below_chord(one: FrontPoint) -> float:  # times the square root of 2; the chord is x + y = 1
        return 1 - (one.latency_ms - fast.latency_ms) / wide - (one.quality - good.quality) / high

    found = max(best, key=below_chord)
    if below_chord(found) <= 0:
        raise UserError("no point of the front lies below its chord", field="--knee", nearest="--max-latency MS")
    return found


def _explained(chosen: FrontPoint, evidence: Evidence, *, rule: str, quality_name: str) -> Choice:
    faster, better = None, None
    if evidence.quality_margin is not None:
        worst = chosen.quality + evidence.quality_margin
        faster = next(
            (one for one in evidence.known if one.latency_ms < chosen.latency_ms and one.quality <= worst), None
        )
    if evidence.latency_margin is not None:
        slowest = chosen.latency_ms * (1 + evidence.latency_margin)
        rivals = [one for one in evidence.known if one.quality < chosen.quality and one.latency_ms <= slowest]
        better = min(rivals, key=lambda one: one.quality, default=None)
    dense = evidence.dense
    steps = chosen.record.candidate.sampling.steps
    same = next((one for one in dense if one.record.candidate.sampling.steps == steps), None)
    return Choice(
        known=chosen,
        rule=rule,
        quality_name=quality_name,
        is_confirmed=evidence.is_confirmed,
        faster_as_good=faster,
        better_as_fast=better,
        dense_quality=quality_at([(one.quality, one.latency_ms) for one in dense], chosen.latency_ms),
        speedup=None if same is None else same.latency_ms / chosen.latency_ms,
        quality_margin=evidence.quality_margin,
    )


def _explained_by_predicted_distance(
    chosen: FrontPoint, evidence: Evidence, *, rule: str, quality_name: str, predicted_distance: float
) -> Choice:
    as_fast = [one for one in evidence.known if one.latency_ms <= chosen.latency_ms]
    ahead = min(as_fast, key=lambda one: one.quality)
    return replace(
        _explained(chosen, evidence, rule=rule, quality_name=quality_name),
        faster_as_good=None,
        better_as_fast=None,
        predicted_distance=predicted_distance,
        ahead_so_far=None if ahead.quality == chosen.quality else ahead,
    )


def reasons(choice: Choice) -> list[str]:
    """Why this trial, in sentences."""
    known, name = choice.known, choice.quality_name
    record = known.record
    source = (
        "measured again by `confirm`" if choice.is_confirmed else "as searched; `flexsearch confirm` would check it"
    )
    lines = [
        f"Trial {record.number} is {choice.rule}.",
        f"{name} {known.quality:.4g} at {known.latency_ms:.4g} ms/image, {source}.",
    ]
    if record.baseline is not None:
        lines.append(f"It is a baseline ({record.baseline}): no searched schedule is better here.")
    else:
        lines += _beside_dense(choice)
    if choice.predicted_distance is not None:
        lines.append(
            f"Its outlook is {choice.predicted_distance:.4g}: of all that are as fast, long training should make most of it, by "
            "how close its samples stay to the dense base's."
        )
        if (ahead := choice.ahead_so_far) is not None:
            number = ahead.record.number
            lines.append(f"So far trial {number} is ahead at that latency, with {ahead.quality:.4g} (--by quality).")
    elif choice.quality_margin is None:
        lines.append("The noise of this run was not measured: how sure the order of neighbours is, is not known.")
    elif choice.faster_as_good is None and choice.better_as_fast is None:
        lines.append("No faster trial is as good within noise, and no better one as fast.")
    if (faster := choice.faster_as_good) is not None:
        lines.append(
            f"Within noise: trial {faster.record.number} is {1 - faster.latency_ms / known.latency_ms:.1%} faster, its "
            f"{name} {faster.quality:.4g} (differences below {choice.quality_margin:.2g} may be noise)."
        )
    if (better := choice.better_as_fast) is not None:
        lines.append(
            f"Within noise: trial {better.record.number} is better ({name} {better.quality:.4g}) and "
            f"{better.latency_ms / known.latency_ms - 1:+.1%} slower, which the timing can hardly tell."
        )
    return lines


def _beside_dense(choice: Choice) -> list[str]:
    known, name = choice.known, choice.quality_name
    steps = known.record.candidate.sampling.steps
    lines = []
    if choice.speedup is not None:
        lines.append(f"It is {choice.speedup:.2f}x as fast as the dense base at its {steps} sampler steps.")
    if choice.dense_quality is None:
        lines.append("The dense base is not as fast at any number of steps that was tried.")
    else:
        gain = choice.dense_quality - known.quality
        verdict = f"{gain:.3g} worse" if gain > 0 else f"{-gain:.3g} better: fewer steps are the better deal"
        dense = f"{name} {choice.dense_quality:.4g}"
        lines.append(f"The dense base at fewer steps and equal latency has {dense}, which is {verdict}.")
    return lines

"""Say in sentences what a run claims: its headline, and what speaks for a trial.

A claim is a speed-up at equal quality over what is free (`speedup.py`) whose 95 % interval lies above 1. The lower end
of that decides which trial the headline names, so that a value which is large by luck does not win.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from flexsearch.report.front import Front, searched_front
from flexsearch.report.points import FrontPoint, Points, is_free
from flexsearch.report.speedup import Speedup, claims_of, rivals, speedup_of, speedup_over_found
from flexsearch.study.store import TrialRecord

NO_CLAIM = "No searched trial is faster than what is free at the same {quality}, beyond noise."


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A point that is faster than what is free of equal quality, beyond noise."""

    point: FrontPoint
    speedup: Speedup

    @property
    def title(self) -> str:
        training = ", nothing trained" if is_free(self.point.record) else ""
        return f"{self.speedup.symbol} as fast at equal quality{training}"


def claim_of(points: Points) -> Claim | None:
    """Give the largest claim that points support; None where there is none."""
    found = next(iter(claims_of(points)), None)
    return None if found is None else Claim(point=found[0], speedup=found[1])


def headline(points: Points, *, quality: str) -> tuple[str, FrontPoint | None]:
    """Say the largest claim that points support, in one sentence, and which point it is about; None where there is
    none."""
    if not points.free_front:
        return "No free baseline is complete yet, so nothing can be compared.", None
    claim = claim_of(points)
    if claim is None:
        return NO_CLAIM.format(quality=quality), None
    unsure = "" if claim.point.distance_sd is not None else f" The noise of {quality} was not measured."
    return f"{_said(points, claim.point, claim.speedup, quality)}{unsure}", claim.point


def claim_so_far(records: Sequence[TrialRecord], objectives: Sequence[str]) -> str:
    """Say the largest claim of a search that goes on, in a line; its noise is not measured yet."""
    front = searched_front(records, objectives)
    claim = claim_of(front.as_searched)
    if claim is None:
        return "so far nothing is faster than what is free at equal quality"
    point = claim.point
    return (
        f"so far: trial {point.record.number}, {claim.speedup.symbol} as fast as what is free at equal quality "
        f"({front.objectives[0].name} {point.distance:.3g}, {point.latency_ms:.3g} ms)"
    )


def beside_free(front: Front, number: int) -> list[str]:
    """Say it of a trial by its number; nothing where it is not complete, or a confirmation left it out."""
    points = front.best_known
    point = points.by_number.get(number)
    return [] if point is None else sentences(points, point, quality=front.objectives[0].name)


def sentences(points: Points, point: FrontPoint, *, quality: str) -> list[str]:
    """Say how fast a point is beside what is free of equal quality; nothing of what is free itself."""
    speedup = speedup_of(points, point)
    if speedup is None:
        return []
    lines = [_said(points, point, speedup, quality)]
    over_found = speedup_over_found(points, point)
    if over_found is not None:
        lines.append(f"Beside all that is free, found by the search too: {over_found}.")
    return lines


def _said(points: Points, point: FrontPoint, speedup: Speedup, quality: str) -> str:
    free, ms = [one.record.number for one in rivals(points, point)], f"{point.latency_ms:.3g} ms per image"
    trial = f"trial {point.record.number}" + (", with nothing trained," if is_free(point.record) else "")
    capital = trial[0].upper() + trial[1:]
    they = f"{speedup.free_ms:.3g} ms ({'between trials' if len(free) > 1 else 'trial'} {' and '.join(map(str, free))})"
    if speedup.verdict == "slower":
        return f"{capital} takes {ms}, training-free baselines of equal {quality} {they}: {speedup} as fast."
    if speedup.bound == "at most":
        return (
            f"{capital} takes {ms}, and every training-free baseline has a better {quality}; the fastest takes {they}. "
            "At equal quality nothing can be told."
        )
    if speedup.verdict == "within noise":
        return f"{capital} takes {ms}, training-free baselines of equal {quality} {they}: within noise, {speedup}."
    told, than = str(speedup), f"the training-free baselines at equal {quality}"
    if speedup.bound is not None:
        told, than = f"{told[0].upper()}{told[1:]}", f"the best training-free baseline, and its {quality} is no worse"
    return f"{told} as fast as {than}: {trial} takes {ms}, not {they}."

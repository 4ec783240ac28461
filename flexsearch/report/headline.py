"""The one claim that a run supports: how far its best searched schedule is ahead of fewer steps of the dense base."""

from dataclasses import dataclass

from flexsearch.report.claims import quality_at
from flexsearch.report.evidence import FrontPoint, evidence_of
from flexsearch.report.front import Front


@dataclass(frozen=True, kw_only=True)
class Headline:
    """A claim and the trial that it is about.

    Attributes:
        claim: one sentence; says so where nothing was found.
        known: the trial; None where nothing was found.
        speedup: of the trial over the dense base at the same sampler steps; None if it was not measured.
        dense_quality: of the dense base at fewer steps and equal latency; None where none is as fast.
    """

    claim: str
    known: FrontPoint | None
    speedup: float | None = None
    dense_quality: float | None = None


def headline(front: Front) -> Headline:
    """The largest gain over fewer steps at equal latency, by the best evidence there is.

    A gain within noise is no gain. Where the whole front is faster than any number of dense steps, the best searched
    schedule is named with its speed-up.
    """
    evidence, name = evidence_of(front), front.objectives[0].name
    searched = [one for one in evidence.best if one.record.baseline is None]
    if not searched:
        return Headline(
            claim="No searched schedule is on the front: the baselines are as good and as fast.", known=None
        )
    dense = evidence.dense
    curve = [(one.quality, one.latency_ms) for one in dense]
    compared = [(quality_at(curve, one.latency_ms), one) for one in searched]
    gains = [(fewer - one.quality, fewer, one) for fewer, one in compared if fewer is not None]
    gain, fewer, best = max(gains, key=lambda found: found[0], default=(None, None, searched[-1]))
    margin = evidence.quality_margin or 0.0
    if gain is not None and gain <= margin:
        return Headline(claim="No searched schedule is ahead of fewer dense steps by more than noise.", known=None)
    steps = best.record.candidate.sampling.steps
    same = next((one for one in dense if one.record.candidate.sampling.steps == steps), None)
    speedup = None if same is None else same.latency_ms / best.latency_ms
    faster = "" if speedup is None else f"is {speedup:.2f}x as fast as the dense base at its {steps} steps, and "
    claim = (
        f"Trial {best.record.number} {faster}reaches {name} {best.quality:.4g} at {best.latency_ms:.3g} ms per image"
    )
    if fewer is None:
        claim += ", where the dense base is not as fast at any number of steps."
    else:
        claim += f", where fewer dense steps of equal latency reach {fewer:.4g}."
    return Headline(claim=claim, known=best, speedup=speedup, dense_quality=fewer)

"""Confirm a front by a second measurement: values with intervals, and whether a point is on the front at all.

Repetitions of the quality are blocks: each seed's images, a quarter of them at a time. The images of one seed are as
independent of each other as those of two seeds, so S seeds give 4 S repetitions where S alone would hardly tell how
large the noise is that all candidates share. To first order a distance is a mean over images, so the mean distance of
N images has the noise of the mean over the blocks' distances, whose interval `paired_noise` gives. Distances of fewer
images scatter a little more than that, so it errs on the wide side.

The distance at infinitely many images adds two errors to it: the scatter over seeds of what extrapolation adds, pooled
over candidates ((S - 1) K degrees of freedom), and the fit's own, that is how far a parabola ends from the line, as the
root mean square over candidates. The three are combined as independent.

Latency is repeated once per seed. Whether a point is on the front is decided at N images, where noise is least, by
draws from quality and latency together; only candidates that were measured again compete.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from flexsearch.measurement import Measurement, rounded
from flexsearch.objectives.fid_infinity import BLOCKS, at_infinity, block_name, curvature
from flexsearch.objectives.settings import has_few_images_bias
from flexsearch.report.paired_noise import PairedNoise
from flexsearch.report.protocol import one_protocol
from flexsearch.report.student import CONFIDENCE, student_quantile
from flexsearch.study.pareto import is_non_dominated
from flexsearch.study.store import Remeasured

Verdict = Literal["confirmed", "within noise", "not confirmed"]

_SURE = 0.95
_DRAWS = 4000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def around(cls, value: float, half_width: float) -> "Interval":
        return cls(value=float(value), low=float(value - half_width), high=float(value + half_width))

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {rounded(self.half_width, 2)}"


@dataclass(frozen=True, kw_only=True)
class ConfirmedPoint:
    """One candidate, measured again.

    Attributes:
        quality: the objective at the confirmation's number of images.
        at_infinity: extrapolated to infinitely many; None for a distance without bias.
        latency: ms per image.
        front_probability: that no other candidate of the confirmation is better in both.
        distance_sd: of the mean over seeds, without what all candidates share: at infinitely many images, or of a
            distance without bias.
    """

    quality: Interval
    at_infinity: Interval | None
    latency: Interval
    front_probability: float
    distance_sd: float

    @property
    def verdict(self) -> Verdict:
        """Whether the point is on the front: at least 95 % sure, at most 5 %, or between."""
        if self.front_probability >= _SURE:
            return "confirmed"
        return "not confirmed" if self.front_probability <= 1 - _SURE else "within noise"

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values."""
        intervals = {"quality": self.quality, "at_infinity": self.at_infinity, "latency_ms": self.latency}
        return {
            **{name: None if found is None else vars(found) for name, found in intervals.items()},
            "front_probability": self.front_probability,
            "verdict": self.verdict,
        }

    def to_flat(self) -> dict[str, Any]:
        """Give the columns of `front.csv`."""
        named = {"quality": self.quality, "infinity": self.at_infinity, "latency_ms": self.latency}
        ends = {"": "value", "_low": "low", "_high": "high"}
        return {
            **{
                f"confirmed_{name}{end}": getattr(found, attribute)
                for name, found in named.items()
                if found is not None
                for end, attribute in ends.items()
            },
            "front_probability": self.front_probability,
            "verdict": self.verdict,
        }


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """A second measurement of candidates, under the same fresh seeds.

    Attributes:
        images: per candidate and seed.
        seeds: of the sampling noise.
        points: by trial number.
        paired_noise: standard deviation of the median candidate's quality under one seed, without what all share.
        common_noise: of what they share.
        latency_noise: of one latency measurement, relative.
        protocols: of quality and latency.
        left_out: measurements (one candidate under one seed) of another protocol.
    """

    images: int
    seeds: tuple[int, ...]
    points: Mapping[int, ConfirmedPoint]
    paired_noise: float
    common_noise: float
    latency_noise: float
    protocols: Mapping[str, Mapping[str, Any]]
    left_out: int

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the paired noise; of one point alone, of all its noise."""
        return (len(self.seeds) - 1) * max(1, len(self.points) - 1)

    @property
    def shown_size(self) -> str:
        """Seeds x images, for legends."""
        return f"{len(self.seeds)} x {self.images}"

    def to_dict(self) -> dict[str, Any]:
        """Without the points."""
        return {
            "images": self.images,
            "seeds": list(self.seeds),
            "confidence": CONFIDENCE,
            "noise": {
                "paired": self.paired_noise,
                "common": self.common_noise,
                "latency_relative": self.latency_noise,
            },
            "protocols": {name: dict(protocol) for name, protocol in self.protocols.items()},
            "left_out": self.left_out,
        }


def confirmation_of(results: Remeasured, names: Sequence[str], *, images: int | None = None) -> Confirmation | None:
    """Compute the confirmation that the results make; None if there is none yet.

    Candidates with at least two seeds take part, with the seeds that all of them have under the protocol of most.

    Args:
        results: what was measured again.
        names: of quality and latency.
        images: take the measurements with this number of images; None takes the most for which there are any.
    """
    for num in sorted(results, reverse=True) if images is None else [images]:
        found, left_out = one_protocol(
            [(number, seed, one) for number, seeds in results.get(num, {}).items() for seed, one in seeds.items()],
            lambda item: [_protocol(item[2][name]) for name in names],
        )
        table: dict[int, dict[int, Mapping[str, Measurement]]] = {}
        for number, seed, one in found:
            table.setdefault(number, {})[seed] = one
        table = {number: seeds for number, seeds in table.items() if len(seeds) >= 2}
        seeds = sorted(set.intersection(*(set(row) for row in table.values()))) if table else []
        if len(seeds) >= 2:
            rows = {number: [table[number][seed] for seed in seeds] for number in sorted(table)}
            return _confirmation(rows, names, images=num, seeds=seeds, left_out=left_out)
    return None


Rows = Mapping[int, Sequence[Mapping[str, Measurement]]]


def _confirmation(
    rows: Rows, names: Sequence[str], *, images: int, seeds: Sequence[int], left_out: int
) -> Confirmation:
    quality, latency = names
    blocks = {num: _blocks(rows, quality, num) for num in BLOCKS}  # (K, S, b)
    at_images = blocks[1][:, :, 0].mean(axis=1)
    small = blocks[max(BLOCKS)]
    has_bias = is_frechet(quality)
    noise = PairedNoise.of(small.reshape(len(small), -1), power=0.5 if has_bias else 0.0)
    noise = replace(noise, means=at_images)
    times = PairedNoise.of(_blocks(rows, latency, 1)[:, :, 0], power=1.0)
    half = noise.half_widths()
    generator = np.random.default_rng(0)
    drawn = np.stack([noise.draws(_DRAWS, generator), times.draws(_DRAWS, generator)], axis=-1)
    on_front = np.mean([is_non_dominated(draw, keep_equal=True) for draw in drawn], axis=0)
    typical = float(np.median(noise.scale)) / math.sqrt(max(BLOCKS))  # of a seed's images, not of a block
    first = next(iter(rows.values()))[0]
    infinite = _at_infinity(blocks, half) if has_bias else [None] * len(rows)
    distance_sds = _sd_at_infinity(blocks, noise.scale) if has_bias else noise.own_sds()
    return Confirmation(
        images=images,
        seeds=tuple(seeds),
        points={
            number: ConfirmedPoint(
                quality=Interval.around(at_images[row], half[row]),
                at_infinity=infinite[row],
                latency=Interval.around(times.means[row], times.half_widths()[row]),
                front_probability=float(on_front[row]),
                distance_sd=float(distance_sds[row]),
            )
            for row, number in enumerate(rows)
        },
        paired_noise=noise.paired * typical,
        common_noise=noise.common * typical,
        latency_noise=float(np.hypot(times.paired, times.common)),
        protocols={name: _protocol(first[name]) for name in names},
        left_out=left_out,
    )


def _blocks(rows: Rows, name: str, num: int) -> np.ndarray:
    """Collect the values (K, S, num) of `name` on each block."""
    return np.array(
        [
            [[found[block_name(name, index, num)].value for index in range(num)] for found in seeds]
            for seeds in rows.values()
        ]
    )


def _at_infinity(blocks: Mapping[int, np.ndarray], half: np.ndarray) -> list[Interval]:
    """Extrapolate every candidate to infinitely many images; `half` (K,) is the half width at all images."""
    means = {num: values.mean(axis=2) for num, values in blocks.items()}  # (K, S) each
    ends = at_infinity(means)
    added = ends - means[1]
    candidates, seeds = added.shape
    freedom = (seeds - 1) * candidates
    scatter = np.sqrt(((added - added.mean(axis=1, keepdims=True)) ** 2).sum() / freedom / seeds)
    scatter *= student_quantile(freedom, (1 + CONFIDENCE) / 2)
    fit = np.sqrt(np.mean(curvature(means).mean(axis=1) ** 2))
    wide = np.sqrt(half**2 + scatter**2 + fit**2)
    return [Interval.around(end, width) for end, width in zip(ends.mean(axis=1), wide, strict=True)]


def _sd_at_infinity(blocks: Mapping[int, np.ndarray], scale: np.ndarray) -> np.ndarray:
    """Estimate the noise (K,) of what is extrapolated, averaged over seeds, without what all candidates share.

    How far the line is from the truth is not in it: the bias of few images bends alike for all.
    """
    ends = at_infinity({num: values.mean(axis=2) for num, values in blocks.items()})  # (K, S)
    found = PairedNoise.of(ends / scale[:, None], power=0.0).own_sds() * scale
    return np.asarray(found)


def is_frechet(name: str) -> bool:
    """Frechet distances are squared, and biased by the number of images."""
    return has_few_images_bias(name)


def _protocol(found: Measurement) -> dict[str, Any]:
    return {name: value for name, value in found.protocol.items() if name != "seed"}

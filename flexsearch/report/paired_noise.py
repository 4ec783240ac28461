"""Give intervals of candidates that were measured side by side: what they share, what each has of its own.

Model, for candidate k under repetition r (K candidates, R repetitions, the same noise for all candidates in one):

    y_kr = m_k + w_k (c_r + e_kr),   c_r ~ N(0, common^2),   e_kr ~ N(0, paired^2), all independent.

Deviations are in units of a scale w_k = m_k^p, so that few repetitions of many candidates can be pooled: p = 1 where
the noise is relative, 0 where it does not depend on the value, 1/2 for squared distances, whose noise is the noise of
what is squared times its size. c is what the noise of a repetition does to all candidates alike; it
cancels when they are compared. With r_kr = (y_kr - mean_r y_kr) / w_k, this is a two-way analysis of variance: the mean
square of e has (R - 1)(K - 1) degrees of freedom and expectation paired^2; the mean square of the repetitions' means,
times K, has R - 1 and K common^2 + paired^2. The variance of a candidate's mean is w_k^2 times their mix
[MS_common / K + (1 - 1/K) MS_paired] / R, whose degrees of freedom are Satterthwaite's (1946).
"""

from dataclasses import dataclass

import numpy as np

from flexsearch.report.student import CONFIDENCE, student_quantile


@dataclass(frozen=True, kw_only=True, eq=False)
class PairedNoise:
    """The noise of a table of K candidates by R repetitions.

    Attributes:
        means: (K,) of each candidate.
        scale: (K,) the unit of each candidate's deviations.
        common_ms: mean square between repetitions, in units of the scale.
        paired_ms: mean square of what is left; 0 for one candidate, whose noise is all "common".
        num_repetitions: R.
    """

    means: np.ndarray
    scale: np.ndarray
    common_ms: float
    paired_ms: float
    num_repetitions: int

    @classmethod
    def of(cls, table: np.ndarray, *, power: float) -> "PairedNoise":
        """Fit the model to a table (K, R), R at least 2, of positive values unless `power`, which is p, is 0."""
        num, repetitions = table.shape
        assert repetitions >= 2, "one repetition says nothing of noise"
        means = table.mean(axis=1)
        scale = means**power
        deviations = (table - means[:, None]) / scale[:, None]
        shared = deviations.mean(axis=0)
        rest = float(((deviations - shared) ** 2).sum())
        return cls(
            means=means,
            scale=scale,
            common_ms=num * float((shared**2).sum()) / (repetitions - 1),
            paired_ms=rest / ((repetitions - 1) * (num - 1)) if num > 1 else 0.0,
            num_repetitions=repetitions,
        )

    @property
    def num_candidates(self) -> int:
        return len(self.means)

    @property
    def paired(self) -> float:
        """Standard deviation of one repetition's value, in units of the scale, after what all candidates share."""
        return float(np.sqrt(self.paired_ms))

    @property
    def common(self) -> float:
        """Standard deviation that all candidates share in one repetition, in units of the scale."""
        return float(np.sqrt(max(0.0, self.common_ms - self.paired_ms) / self.num_candidates))

    def own_sds(self) -> np.ndarray:
        """(K,) standard deviation of each mean, after what all candidates share."""
        return np.asarray(self.scale * self.paired / np.sqrt(self.num_repetitions))

    def half_widths(self) -> np.ndarray:
        """(K,) half of the 95 % confidence interval of each mean."""
        num, repetitions = self.num_candidates, self.num_repetitions
        parts = np.array([self.common_ms / num, (1 - 1 / num) * self.paired_ms])
        freedoms = np.array([repetitions - 1.0, max(1.0, (repetitions - 1.0) * (num - 1.0))])
        variance = parts.sum()
        if variance == 0:
            return np.zeros(num)
        freedom = variance**2 / (parts**2 / freedoms).sum()
        quantile = student_quantile(freedom, (1 + CONFIDENCE) / 2)
        return self.scale * float(quantile * np.sqrt(variance / repetitions))

    def draws(self, num: int, generator: np.random.Generator) -> np.ndarray:
        """(num, K) means as they could be, given the table: the variances' own uncertainty is in it (chi-square)."""
        candidates, repetitions = self.num_candidates, self.num_repetitions
        freedom = repetitions - 1
        between = self.common_ms * freedom / generator.chisquare(freedom, num)
        within = np.zeros(num)
        if candidates > 1:
            freedom *= candidates - 1
            within = self.paired_ms * freedom / generator.chisquare(freedom, num)
        common = np.sqrt(np.maximum(0.0, between - within) / candidates / repetitions)
        shared = common * generator.standard_normal(num)
        own = np.sqrt(within / repetitions)[:, None] * generator.standard_normal((num, candidates))
        return self.means + self.scale * (shared[:, None] + own)

"""Noise of a search's quality values, from a few of its schedules that were measured again under other seeds.

All trials of a study share one seed, so most of the seed's effect is common to them and cancels in a comparison. What
is left is the paired noise: the standard deviation of values after each seed's mean over the schedules is taken off.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Standard deviations of one measurement over seeds, in its unit.

    Attributes:
        paired: of the difference of a schedule to the mean of the others under the same seed.
        unpaired: of one schedule's value.
        num_schedules: schedules measured.
        num_seeds: seeds each, the study's own included.
    """

    paired: float
    unpaired: float
    num_schedules: int
    num_seeds: int

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the paired noise."""
        return (self.num_schedules - 1) * (self.num_seeds - 1)


def noise_of(values: Mapping[int, Mapping[int, float]]) -> Noise | None:
    """Estimate the noise of values by schedule and seed; None unless two schedules share two seeds."""
    seeds = sorted(set.intersection(*(set(row) for row in values.values()))) if values else []
    if len(values) < 2 or len(seeds) < 2:
        return None
    table = [[row[seed] for seed in seeds] for row in values.values()]
    rows, columns = len(table), len(seeds)
    grand = statistics.fmean(value for row in table for value in row)
    of_seed = [statistics.fmean(row[column] for row in table) for column in range(columns)]
    residuals = [
        value - statistics.fmean(row) - of_seed[column] + grand for row in table for column, value in enumerate(row)
    ]
    return Noise(
        paired=math.sqrt(sum(residual**2 for residual in residuals) / ((rows - 1) * (columns - 1))),
        unpaired=math.sqrt(statistics.fmean(statistics.variance(row) for row in table)),
        num_schedules=rows,
        num_seeds=columns,
    )

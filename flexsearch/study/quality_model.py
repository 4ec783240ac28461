"""Quality model: a Gaussian process over candidates, fitted to the trials so far.

What is regressed is the logarithm of the quality over that of the dense base at the same sampler steps and under the
same solver: most of what they do is known from the baselines. A candidate is described by how much of it plays which
role, by its grids, its sampling and its work, so that schedules of any family and space can be compared. What a space
does not search is constant, and changes nothing. The regression is scikit-learn's; source: Rasmussen & Williams 2006,
chapter 2.
"""

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import get_args

import numpy as np

from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.role import ROLES
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.solver import SolverName
from flexsearch.schedule.width import EIGHTHS, HEADS, HIDDEN
from flexsearch.study.evenly import evenly

MOST_FITTED = 64
"""Of what is known, so much at even distances decides the kernel's four parameters, for which many processes are
computed; all of it decides what is predicted."""


def features(candidate: Candidate, *, work: float) -> tuple[float, ...]:
    """List what describes a candidate.

    Of its schedule: role shares, sparse tokens per side near data and near noise, frames, shares of heads and hidden
    channels near data and near noise. Of its sampling: sampler
    steps, MACs of an image, solver, guidance rows, gain, and reuse as `_reuse` lists it. Candidates that do the same
    have the same features.
    """
    schedule, sampling = candidate.schedule, candidate.sampling
    return (
        *_schedule(schedule),
        math.log(sampling.steps),
        math.log(work),
        *_sampling(sampling, schedule.num_blocks),
    )


@lru_cache(maxsize=1 << 12)
def _schedule(schedule: DensitySchedule) -> tuple[float, ...]:
    roles, timetable = schedule.roles, schedule.timetable
    return (
        *(roles.count(role) / len(roles) for role in ROLES),
        float(timetable.grids[0]),
        float(timetable.grids[-1]),
        float(timetable.frames or 0),
        *(_computed(schedule, name, stage) for name in (HEADS, HIDDEN) for stage in (0, -1)),
    )


def _computed(schedule: DensitySchedule, name: str, stage: int) -> float:
    """The share that is computed of an amount, over all blocks."""
    eighths = [dict(amounts).get(name, EIGHTHS) for amounts in schedule.amounts[stage]]
    return sum(eighths) / (EIGHTHS * len(eighths))


@lru_cache(maxsize=1 << 12)
def _sampling(sampling: Sampling, num_blocks: int) -> tuple[float, ...]:
    guidance, gain = sampling.guidance, sampling.gain
    return (
        *(float(sampling.solver == solver) for solver in get_args(SolverName)),
        math.log(sampling.shift),
        float(sampling.start != "model"),
        float(sampling.start == "gaussian"),
        guidance.start,
        guidance.end,
        1.0 / guidance.every,
        math.log(gain.stream),
        gain.at / num_blocks,
        math.log(gain.skip),
        *_reuse(sampling, num_blocks),
    )


def _reuse(sampling: Sampling, num_blocks: int) -> tuple[float, ...]:
    """List full steps, where they lie on average (0 the first, 1 the last step), the longest run without one, null
    steps, and of partial steps the order, the blocks computed below and above, and whether modules are reused."""
    num = sampling.num_patterned
    spelled = sampling.cache.spelled(num, num_blocks=num_blocks)
    pattern = spelled.get("pattern", "F" * num)
    full = [index for index, letter in enumerate(pattern) if letter == "F"]
    return (
        math.log(len(full)),
        sum(full) / len(full) / max(num - 1, 1),
        max(map(len, pattern.split("F"))) / num,
        pattern.count("n") / num,
        float(spelled.get("order", 0)),
        spelled.get("first", 0) / num_blocks,
        spelled.get("last", 0) / num_blocks,
        float(spelled.get("reuse") == "modules"),
    )


class QualityModel:
    """Predict the qualities of candidates.

    Args:
        known: features of candidates that were tried.
        qualities: of these candidates.
        dense: qualities of the dense base at their sampler steps.
    """

    def __init__(self, known: Sequence[Sequence[float]], *, qualities: Sequence[float], dense: Sequence[float]) -> None:
        self._table = np.array(known)
        self._targets = np.log(qualities) - np.log(dense)

    def predict(self, asked: Sequence[Sequence[float]], *, dense: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Give (K,) means and (K,) standard deviations of the logarithm of the quality of K candidates."""
        # A second to import, which `flexsearch plan` need not wait for.
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        everything = np.vstack([self._table, np.array(asked)])
        low, span = everything.min(axis=0), np.ptp(everything, axis=0)
        scaled = (everything - low) / np.where(span > 0, span, 1.0)
        smooth = ConstantKernel(1.0, (1e-2, 10.0)) * Matern(1.0, (0.1, 30.0), nu=2.5)
        process = GaussianProcessRegressor(smooth + WhiteKernel(1e-2, (1e-4, 1e-1)), normalize_y=True, random_state=0)
        few = evenly(range(len(self._table)), MOST_FITTED)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a parameter at its bound is an answer too
            process.fit(scaled[few], self._targets[few])
        if len(few) < len(self._table):
            process = GaussianProcessRegressor(process.kernel_, optimizer=None, normalize_y=True)
            process.fit(scaled[: len(self._table)], self._targets)
        mean, sd = process.predict(scaled[len(self._table) :], return_std=True)
        return mean + np.log(dense), sd

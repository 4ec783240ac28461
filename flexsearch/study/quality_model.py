"""Quality model: a Gaussian process over candidates, fitted to the trials so far.

What is regressed is the logarithm of the quality over that of the dense base at the same sampler steps: most of what
steps do is known from the baselines. A candidate is described by how much of it plays which role, by its grids, its
steps and its work, so that schedules of any family and space can be compared. The regression is scikit-learn's; source:
Rasmussen & Williams 2006, chapter 2.
"""

import math
import warnings
from collections.abc import Sequence

import numpy as np

from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.role import ROLES


def features(candidate: Candidate, *, work: float) -> tuple[float, ...]:
    """List role shares, sparse tokens per side near data and near noise, frames, sampler steps, MACs of an image."""
    roles, timetable = candidate.schedule.roles, candidate.schedule.timetable
    return (
        *(roles.count(role) / len(roles) for role in ROLES),
        float(timetable.grids[0]),
        float(timetable.grids[-1]),
        float(timetable.frames or 0),
        math.log(candidate.sampling.steps),
        math.log(work),
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a parameter at its bound is an answer too
            process.fit(scaled[: len(self._table)], self._targets)
        mean, sd = process.predict(scaled[len(self._table) :], return_std=True)
        return mean + np.log(dense), sd

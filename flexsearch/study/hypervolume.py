"""The area that a front covers, up to a reference point, and what a further point would add to it. All is minimised.

The computation is moocore's.
"""

from collections.abc import Sequence

import moocore
import numpy as np

_MARGIN = 1.1
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(6)


def reference_point(baselines: np.ndarray) -> np.ndarray:
    """(M,) 1.1 times the worst of the baselines (N, M) in each objective."""
    return baselines.max(axis=0) * _MARGIN if len(baselines) else np.array([])


def hypervolume(points: np.ndarray, *, reference: np.ndarray) -> float:
    """What points (N, M) dominate, up to the reference point (M,)."""
    return float(moocore.hypervolume(points, ref=reference)) if len(points) else 0.0


def expected_gain(
    front: np.ndarray,
    *,
    log_mean: np.ndarray,
    log_sd: np.ndarray,
    latency: Sequence[float],
    reference: np.ndarray,
) -> np.ndarray:
    """(K,) expected hypervolume improvement of K points whose latency is known and whose quality is log-normal.

    Source: Emmerich, Giannakoglou & Naujoks 2006. With one objective known, the expectation is an integral over the
    other, taken here by Gauss-Hermite quadrature at six nodes.

    Args:
        front: (N, 2) quality and latency of what is there.
        log_mean: (K,) of the logarithm of the quality.
        log_sd: (K,) standard deviation of it.
        latency: (K,) in the front's unit.
        reference: (2,) where the hypervolume ends.
    """
    before = hypervolume(front, reference=reference)
    weights = _WEIGHTS / _WEIGHTS.sum()
    gains = []
    for mean, sd, known in zip(log_mean, log_sd, latency, strict=True):
        reached = [(np.exp(mean + sd * node), known) for node in _NODES]
        volumes = [hypervolume(np.vstack([front, point]), reference=reference) for point in reached]
        gains.append(float(weights @ (np.array(volumes) - before)))
    return np.array(gains)

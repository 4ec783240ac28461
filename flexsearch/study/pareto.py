"""Non-dominated points and the area that they cover. All objectives are minimised; the computation is moocore's."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import moocore
import numpy as np

T = TypeVar("T")
_MARGIN = 1.1
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(6)


def is_non_dominated(values: np.ndarray, *, keep_equal: bool = False) -> np.ndarray:
    """Mark the points that no other point dominates: none is at least as good in all objectives and better in one.

    Args:
        values: (N, M) objectives.
        keep_equal: whether all of several equal points are marked, or the first alone.

    Returns:
        (N,) booleans.
    """
    if not len(values):
        return np.zeros(0, dtype=bool)
    return np.asarray(moocore.is_nondominated(values, keep_weakly=keep_equal), dtype=bool)


def non_dominated(items: Iterable[T], key: Callable[[T], Sequence[float]], *, keep_equal: bool = False) -> list[T]:
    """Keep the items whose objectives `key(item)` no other item dominates, in their order."""
    items = list(items)
    good = is_non_dominated(np.array([key(item) for item in items], dtype=float), keep_equal=keep_equal)
    return [item for item, is_good in zip(items, good, strict=True) if is_good]


def dominance_ranks(values: np.ndarray) -> np.ndarray:
    """Give (N,) ranks of points (N, M): 0 is not dominated, 1 is not once those of rank 0 are gone, and so on."""
    return np.asarray(moocore.pareto_rank(values))


def reference_point(baselines: np.ndarray) -> np.ndarray:
    """Give (M,) 1.1 times the worst of the baselines (N, M) in each objective."""
    return baselines.max(axis=0) * _MARGIN if len(baselines) else np.array([])


def hypervolume(points: np.ndarray, *, reference: np.ndarray) -> float:
    """Measure the area that points (N, M) dominate, up to the reference point (M,)."""
    return float(moocore.hypervolume(points, ref=reference)) if len(points) else 0.0


def hypervolume_contributions(points: np.ndarray, *, reference: np.ndarray) -> np.ndarray:
    """Measure (N,) what each of the points (N, M) adds to the area that the others dominate."""
    return np.asarray(moocore.hv_contributions(points, ref=reference))


def expected_gain(
    front: np.ndarray,
    *,
    log_mean: np.ndarray,
    log_sd: np.ndarray,
    latency: Sequence[float],
    reference: np.ndarray,
) -> np.ndarray:
    """Give (K,) expected hypervolume improvements of K points with known latencies and log-normal qualities.

    Source: Emmerich, Giannakoglou & Naujoks 2006. With one objective known, the expectation is an integral over the
    other, taken here by Gauss-Hermite quadrature at six nodes; at each, the improvement is a sum of rectangles.

    Args:
        front: (N, 2) quality and latency of the points so far.
        log_mean: (K,) of the logarithm of the quality.
        log_sd: (K,) standard deviation of it.
        latency: (K,) in the front's unit.
        reference: (2,) where the hypervolume ends.
    """
    front = front[is_non_dominated(front)]
    front = front[np.argsort(front[:, 1])]  # fastest first, so worst first
    starts = np.array([-np.inf, *front[:, 1]])
    ends = np.minimum([*front[:, 1], np.inf], reference[1])
    best = np.minimum([np.inf, *front[:, 0]], reference[0])  # (N + 1,) quality reached between a start and its end
    reached = np.exp(log_mean[:, None] + log_sd[:, None] * _NODES)  # (K, 6)
    wide = np.maximum(ends - np.maximum(starts, np.array(latency)[:, None]), 0.0)  # (K, N + 1)
    high = np.maximum(best - reached[:, :, None], 0.0)  # (K, 6, N + 1)
    return np.asarray(np.einsum("kjn,kn,j->k", high, wide, _WEIGHTS / _WEIGHTS.sum()))

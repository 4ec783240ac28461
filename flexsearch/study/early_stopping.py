"""Stop trials at rungs: asynchronous successive halving with several objectives.

Trials at one rung are ranked by non-dominated sorting, and inside one front by an epsilon net, which takes the point
farthest from those taken before. A trial goes on if it is among the best `keep` of those that have reached the rung so
far, or if none of them dominates it. Latency is exact from the start, the quality the rung's.

Source: Schmucker et al. 2021, "Multi-objective Asynchronous Successive Halving" (arXiv 2106.12639), its stopping
variant with epsilon-net ranking. Where we depart: non-dominated trials go on, so that a front is never thinned.
"""

import math

import numpy as np

from flexsearch.study.pareto import dominance_ranks, is_non_dominated


def epsilon_net(points: np.ndarray) -> list[int]:
    """Order points (N, M) so that every beginning covers them: first the best in the first objective, then always the
    point whose distance to those taken is largest. Objectives are scaled to [0, 1]."""
    span = np.ptp(points, axis=0)
    scaled = (points - points.min(axis=0)) / np.where(span > 0, span, 1.0)
    order = [int(np.lexsort(scaled.T[::-1])[0])]
    distances = np.linalg.norm(scaled - scaled[order[0]], axis=1)
    while len(order) < len(points):
        distances[order] = -1.0
        order.append(int(np.argmax(distances)))
        distances = np.minimum(distances, np.linalg.norm(scaled - scaled[order[-1]], axis=1))
    return order


def goes_on(points: np.ndarray, own: int, *, keep: float) -> bool:
    """Tell whether a trial goes on from a rung.

    Args:
        points: (N, M) objectives of all that have reached the rung, it among them; all are minimised.
        own: its index.
        keep: share that goes on.
    """
    if is_non_dominated(points, keep_equal=True)[own]:
        return True
    ranks = dominance_ranks(points)
    peers = np.flatnonzero(ranks == ranks[own])
    left = math.ceil(keep * len(points)) - int((ranks < ranks[own]).sum())
    if not 0 < left < len(peers):  # none of its rank goes on, or all do
        return left > 0
    return own in peers[epsilon_net(points[peers])[:left]]

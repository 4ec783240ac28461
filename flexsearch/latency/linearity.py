"""Tell from the dense base's latencies whether the machine was quiet: they are linear in the number of its steps.

Every step of one solver computes the same, so latency = a + b steps. The line is Theil and Sen's (the median of all
slopes, then of all intercepts), which a few wrong latencies do not move.
"""

import math
import statistics
from collections.abc import Mapping
from itertools import combinations

FEWEST = 3  # latencies that a line can disagree with

TOLERANCE = 0.15
"""Relative. One latency, measured again, scatters by 3.6 % on two shared cores (docs/protocols.md); a latency and the
line through others differ by at most sqrt(2) times that, and three standard deviations of it are 15 %."""


def residuals(latencies: Mapping[int, float]) -> list[float]:
    """Compare latencies in ms, by steps, with the line: relative to it; empty for fewer than three."""
    if len(latencies) < FEWEST:
        return []
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(latencies.items(), 2)]
    slope = statistics.median(slopes)
    start = statistics.median(ms - slope * steps for steps, ms in latencies.items())
    return [ms / max(start + slope * steps, ms / 10) - 1 for steps, ms in latencies.items()]


def disagreement(latencies: Mapping[int, float]) -> float | None:
    """Give the largest residual, if that is more than a quiet machine explains; else None."""
    worst = max(map(abs, residuals(latencies)), default=0.0)
    return worst if worst > TOLERANCE else None


def scatter(latencies: Mapping[int, float]) -> float:
    """Estimate the relative standard deviation of one latency from the residuals."""
    found = residuals(latencies)
    return math.sqrt(sum(one**2 for one in found) / (len(found) - 2)) if found else 0.0


def warning(disagreement: float, run: str) -> str:
    """Say that latencies disagree, and the way out."""
    return (
        f"the dense base's latencies disagree by {disagreement:.0%} (they should be linear in its steps): is something "
        f"else running? `flexsearch remeasure {run}` times all trials again"
    )

"""Student's t distribution. SciPy's takes a quarter of a second to import, for which no table should wait."""

import math
from functools import lru_cache

import numpy as np

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


CONFIDENCE = 0.95


def half_width(sd: float, freedom: float) -> float:
    """Give half of the 95 % interval of a value, from a standard deviation that was itself estimated."""
    return sd * (1.959964 if math.isinf(freedom) else student_quantile(freedom, (1 + CONFIDENCE) / 2))


@lru_cache(maxsize=256)
def student_quantile(freedom: float, probability: float) -> float:
    """Give the quantile of a probability in [0.5, 1), for at least one degree of freedom.

    With t = sqrt(freedom) tan(angle) the distribution function is 1/2 plus a constant times the integral of
    cos(angle) ** (freedom - 1) from 0, taken by Gauss-Legendre quadrature and inverted by bisection.
    """
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        area = angle / 2 * float(_WEIGHTS @ np.cos(angle / 2 * (_NODES + 1)) ** (freedom - 1))
        low, high = (low, angle) if scale * area > probability - 0.5 else (angle, high)
    return math.sqrt(freedom) * math.tan((low + high) / 2)

"""The Frechet distance of infinitely many images, from its fall with their number.

Source: Chong & Forsyth 2020, "Effectively Unbiased FID" (arXiv 1911.07023), section 3: the bias of the distance is
linear in 1/n, n the number of images, so a line through distances of subsets ends, at 1/n = 0, at the distance of
infinitely many. Where we depart: the subsets are not drawn at random but are all blocks of one set, nested and
disjoint. Every image then counts equally at every size, so that which images were drawn moves the line but hardly tilts
it. A block is a run of consecutive images, because conditions come in turn: it has every class about equally often.
Letters: N images, b blocks of N / b images.
"""

from collections.abc import Mapping

import numpy as np

BLOCKS = (1, 2, 4)
MIN_IMAGES = 2 * max(BLOCKS)


def block_name(name: str, index: int, num: int) -> str:
    """Name the measurement `name` on one of `num` blocks of consecutive images; on the only one it keeps its name."""
    return name if num == 1 else f"{name}_block_{index + 1}_of_{num}"


def at_infinity(distances: Mapping[int, np.ndarray]) -> np.ndarray:
    """Extrapolate the least-squares line through the mean distances of b blocks, against b (1/n is b/N), to b = 0.

    Args:
        distances: by b, arrays of one shape.
    """
    return _meets_zero(distances, degree=1)


def curvature(distances: Mapping[int, np.ndarray]) -> np.ndarray:
    """Estimate the line's error: the difference at 1/n = 0 of a parabola in 1/n."""
    further: np.ndarray = _meets_zero(distances, degree=2) - _meets_zero(distances, degree=1)
    return further


def _meets_zero(distances: Mapping[int, np.ndarray], *, degree: int) -> np.ndarray:
    values = np.stack([np.asarray(distances[num], dtype=float) for num in distances])
    powers = np.vander(np.array(list(distances), dtype=float), degree + 1, increasing=True)
    weights = np.linalg.pinv(powers)[0]  # least squares is linear in the values
    ends: np.ndarray = np.tensordot(weights, values, axes=1)
    return ends

"""Improved precision and recall of features (Kynkäänniemi et al. 2019, arXiv 1904.06991), by torch-fidelity.

A set's manifold is the union of balls around its images, each reaching to its `NEIGHBOURHOOD`-th nearest neighbour.
Precision is the part of the generated images inside the real ones' manifold, recall the part of the real images inside
the generated ones'. Both depend on the numbers of images; compare only at equal ones.
"""

from torch import Tensor
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from flexsearch.errors import UserError

NEIGHBOURHOOD = 3


def precision_recall(generated: Tensor, real: Tensor) -> tuple[float, float]:
    """Compute precision and recall in [0, 1] of features (N, D) against (M, D).

    Raises:
        UserError: a set has no more images than the neighbourhood.
    """
    fewest = min(len(generated), len(real))
    if fewest <= NEIGHBOURHOOD:
        raise UserError(f"needs at least {NEIGHBOURHOOD + 1} images, but got {fewest}", nearest=NEIGHBOURHOOD + 1)
    found = prc_features_to_metric(generated, real, prc_neighborhood=NEIGHBOURHOOD, save_cpu_ram=True, verbose=False)
    return float(found[KEY_METRIC_PRECISION]), float(found[KEY_METRIC_RECALL])

"""The kernel distance of features, through torch-fidelity's own (Binkowski et al. 2018, arXiv 1801.01401).

The squared maximum mean discrepancy under the cubic kernel (x . y / D + 1)^3, by its estimator without bias: small
negative values are right for very similar sets. Unlike the Frechet distance's, its expectation does not depend on the
number of images.
"""

from dataclasses import dataclass

from torch import Tensor
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

from flexsearch.errors import UserError

SUBSETS = 100
SUBSET_SIZE = 1000
_SEED = 2020  # torch-fidelity's: every candidate is measured on the same rows


@dataclass(frozen=True, kw_only=True)
class KernelDistance:
    """Mean and standard deviation of the squared discrepancy over `subsets` draws of `subset_size` images a side."""

    value: float
    spread: float
    subsets: int
    subset_size: int


def kernel_distance(a: Tensor, b: Tensor, *, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE) -> KernelDistance:
    """Compute the distance of features (N, D) and (M, D).

    Args:
        a: features of one set.
        b: features of the other.
        subsets: draws, each without replacement.
        subset_size: images per draw and side; the smaller set's number where that is less.

    Raises:
        UserError: a set of fewer than two images.
    """
    size = min(subset_size, len(a), len(b))
    if size < 2:
        raise UserError(f"needs at least 2 images, but got {size}", nearest=2)
    found = kid_features_to_metric(
        a.double(), b.double(), kid_subsets=subsets, kid_subset_size=size, rng_seed=_SEED, verbose=False
    )
    return KernelDistance(
        value=found[KEY_METRIC_KID_MEAN], spread=found[KEY_METRIC_KID_STD], subsets=subsets, subset_size=size
    )

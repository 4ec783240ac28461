"""Learned perceptual image patch similarity of pairs of images (Zhang et al. 2018, arXiv 1801.03924): its authors'
package and weights, on AlexNet. A distance: lower is better."""

import torch
from torch import Tensor

from flexsearch.errors import reading
from flexsearch.objectives.image_metric import Kind, Score, as_pictures, in_colour, per_item
from flexsearch.objectives.packages import load_package

FIELD = "objectives.quality: lpips"


def load_lpips(device: torch.device, _: str | None) -> Score:
    """Load the network.

    Raises:
        UserError: the package or its weights are not there; says how to get them.
    """
    package = load_package("lpips", field=FIELD)
    with reading(FIELD, rule="its weights cannot be had", advice="torchvision downloads AlexNet's on first use"):
        network = package.LPIPS(net="alex", verbose=False).eval().to(device)

    @torch.no_grad()
    def score(images: Tensor, others: Tensor) -> Tensor:
        (x, frames), (y, _) = as_pictures(images), as_pictures(others)
        with reading(FIELD, rule="cannot read these images"):
            distances = network(in_colour(x) * 2 - 1, in_colour(y) * 2 - 1)
        return per_item(distances.flatten(), frames)

    return score


LPIPS = Kind(
    load=load_lpips,
    compares="images",
    describe=lambda distance: (("lpips", distance, "1"),),
    protocol={"network": "AlexNet, version 0.1"},
)

"""ImageReward (Xu et al. 2023, arXiv 2304.05977): how people would rank an image of a prompt, by its authors' package.
It may be negative, so it is reported and never an objective."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from flexsearch.errors import reading
from flexsearch.objectives.image_metric import Kind, Score, as_pictures, in_colour, per_item
from flexsearch.objectives.packages import load_package

FIELD = "objectives.quality.report: image_reward"
_MODEL = "ImageReward-v1.0"


def load_image_reward(device: torch.device, _: str | None) -> Score:
    """Load the model.

    Raises:
        UserError: the package or its weights are not there; says how to get them.
    """
    package = load_package("ImageReward", field=FIELD, install="image-reward")
    with reading(FIELD, rule="its weights cannot be had", advice="the package downloads them on first use"):
        model = package.load(_MODEL, device=str(device))

    @torch.no_grad()
    def score(images: Tensor, prompts: Sequence[str]) -> Tensor:
        pictures, frames = as_pictures(images)
        shown = [to_pil_image(picture) for picture in in_colour(pictures).cpu()]
        each = [prompts[index // frames] for index in range(len(shown))]
        rewards = torch.tensor([float(model.score(*pair)) for pair in zip(each, shown, strict=True)])
        return per_item(rewards, frames)

    return score


IMAGE_REWARD = Kind(
    load=load_image_reward,
    compares="prompts",
    describe=lambda reward: (("image_reward", reward, "1"),),
    protocol={"model": _MODEL},
)

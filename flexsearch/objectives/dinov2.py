"""DINOv2's vision transformer ViT-L/14 (Oquab et al. 2023, arXiv 2304.07193), for FD-DINOv2; transformers' network.

Stein et al. 2023 (arXiv 2306.04675) find the Frechet distance of its features closer to what people see than
Inception's. The preprocessing is torch-fidelity's: bilinear resizing to 224x224 and ImageNet's normalisation. The
weights are the authors' file, under transformers' names. Positions are resampled as the authors do, from the training's
grid with 0.1 added to the side of the new one; transformers' resampling leaves that out, and gives other features.

B: batch. D: width, 1024.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
from torchvision.transforms.functional import normalize

from flexsearch.models.pretrained import check_all_loaded, import_transformers
from flexsearch.objectives.weights import FIELD, PublishedWeights

DINOV2_WEIGHTS = PublishedWeights(
    url="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    sha256="d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
)
DINOV2_FEATURES = 1024

_SIDE, _PATCH, _HEAD = 224, 14, 64
_GRID_OFFSET = 0.1
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of pixels in [0, 1]
_NAMES = (  # the authors', transformers'
    (r"^(cls|mask)_token", r"embeddings.\1_token"),
    (r"^pos_embed", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj", "embeddings.patch_embeddings.projection"),
    (r"^norm\.", "layernorm."),
    (r"^blocks\.", "encoder.layer."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.", ".attention.attention."),
    (r"\.ls(\d)\.gamma", r".layer_scale\1.lambda1"),
)


class Dinov2Features(nn.Module):
    """Class tokens of images.

    Args:
        weights: tensors of the authors' file, of any of their networks with an MLP.

    Raises:
        UserError: transformers is not installed, or weights are missing.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        transformers = import_transformers("DINOv2's features need its network")
        width = weights["cls_token"].shape[-1]
        config = transformers.Dinov2Config(
            hidden_size=width,
            num_hidden_layers=sum(name.endswith("norm1.weight") for name in weights),
            num_attention_heads=width // _HEAD,
            image_size=_SIDE,
        )
        self.network, found = transformers.Dinov2Model.from_pretrained(
            None, config=config, state_dict=_renamed(weights), output_loading_info=True
        )
        check_all_loaded(found["missing_keys"], field=FIELD)
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        resized = interpolate_bilinear_2d_like_tensorflow1x(images.float(), size=(_SIDE, _SIDE), align_corners=False)
        pixels = normalize(resized, *([255 * value for value in values] for values in (_MEAN, _STD)))
        classes: Tensor = self.network(pixels).pooler_output
        return classes


def _renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Any] = {}
    for name, value in weights.items():
        given = _resampled(value) if name == "pos_embed" else value
        for pattern, replacement in _NAMES:
            name = re.sub(pattern, replacement, name)
        if ".qkv." in name:
            for part, rows in zip(("query", "key", "value"), given.chunk(3), strict=True):
                found[name.replace("qkv", part)] = rows.clone()
        else:
            found[name] = given
    return found


def _resampled(positions: Tensor) -> Tensor:
    """Resample position embeddings (1, 1 + g^2, D) of a training grid g x g to the grid of the features' images."""
    of_class, of_patches = positions[:, :1], positions[:, 1:]
    trained = round(of_patches.shape[1] ** 0.5)
    square = of_patches.unflatten(1, (trained, trained)).permute(0, 3, 1, 2)
    scale = (_SIDE // _PATCH + _GRID_OFFSET) / trained
    resampled = F.interpolate(square, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat((of_class, resampled.flatten(2).transpose(1, 2)), dim=1)

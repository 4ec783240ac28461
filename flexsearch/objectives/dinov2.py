"""DINOv2's vision transformer ViT-L/14 (Oquab et al. 2023, arXiv 2304.07193), for FD-DINOv2.

Stein et al. 2023 (arXiv 2306.04675) find the Frechet distance of its features closer to what people see than
Inception's. The preprocessing is torch-fidelity's: bilinear resizing to 224x224 and ImageNet's normalisation. Its
network comes through `torch.hub`, which runs code fetched from the network and takes no weights by path; the network
here has the same weights by the same names, and needs no code but this.

B: batch. N: tokens, 256 patches and one class token. D: width, 1024.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

from flexsearch.objectives.weights import PublishedWeights

DINOV2_WEIGHTS = PublishedWeights(
    url="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    sha256="d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
)
DINOV2_FEATURES = 1024

_PATCH, _TRAINED_GRID, _EPSILON = 14, 37, 1e-6
_GRID_OFFSET = 0.1  # added to the grid's side when positions are resampled, as in training


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, num, width = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, num, 3, self.heads, width // self.heads)
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, D / heads)
        mixed = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2)  # (B, N, heads, D / heads)
        projected: Tensor = self.proj(mixed.reshape(batch, num, width))
        return projected


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return out


class _Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.gamma


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPSILON)
        self.attn = _Attention(width, heads)
        self.ls1 = _Scale(width)
        self.norm2 = nn.LayerNorm(width, eps=_EPSILON)
        self.mlp = _Mlp(width)
        self.ls2 = _Scale(width)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        out: Tensor = tokens + self.ls2(self.mlp(self.norm2(tokens)))
        return out


class _PatchEmbedding(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, _PATCH, stride=_PATCH)

    def forward(self, images: Tensor) -> Tensor:
        patches: Tensor = self.proj(images).flatten(2).transpose(1, 2)  # (B, N, D)
        return patches


class Dinov2(nn.Module):
    """The transformer; (B, 3, H, W) normalised images, sides multiples of 14, to (B, D) class tokens.

    Args:
        width: D.
        depth: blocks.
        heads: attention heads.
    """

    def __init__(self, *, width: int = DINOV2_FEATURES, depth: int = 24, heads: int = 16) -> None:
        super().__init__()
        self.patch_embed = _PatchEmbedding(width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + _TRAINED_GRID**2, width))
        self.mask_token = nn.Parameter(torch.zeros(1, width))  # of the training; in the weights, never read
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=_EPSILON)

    def forward(self, images: Tensor) -> Tensor:
        grid = (images.shape[-2] // _PATCH, images.shape[-1] // _PATCH)
        tokens = self.patch_embed(images)  # (B, N - 1, D)
        tokens = torch.cat((self.cls_token.expand(len(tokens), -1, -1), tokens), dim=1)  # (B, N, D)
        tokens = tokens + self._positions(grid)
        for block in self.blocks:
            tokens = block(tokens)
        classes: Tensor = self.norm(tokens)[:, 0]
        return classes

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """(1, N, D), resampled from the grid of the training."""
        of_class, of_patches = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        if grid == (_TRAINED_GRID, _TRAINED_GRID):
            return self.pos_embed
        square = of_patches.unflatten(1, (_TRAINED_GRID, _TRAINED_GRID)).permute(0, 3, 1, 2)
        scale = tuple((side + _GRID_OFFSET) / _TRAINED_GRID for side in grid)
        resampled = F.interpolate(square, scale_factor=scale, mode="bicubic")
        return torch.cat((of_class, resampled.flatten(2).transpose(1, 2)), dim=1)


class Dinov2Features(FeatureExtractorDinoV2):  # type: ignore[misc]
    """torch-fidelity's preprocessing of uint8 images (B, 3, H, W), and the network's (B, D) class tokens."""

    def __init__(self, name: str, network: Dinov2) -> None:
        FeatureExtractorBase.__init__(self, name, ["dinov2"])  # the parent's fetches code
        self.feature_extractor_internal_dtype = torch.float32
        self.model = network
        self.requires_grad_(False).eval()

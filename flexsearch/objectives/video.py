"""Features of videos by a TorchScript network, for the Frechet Video Distance (Unterthiner et al. 2018, 1812.01717).

The distance of the literature takes I3D trained on Kinetics-400. Its TorchScript file is StyleGAN-V's (Skorokhodov et
al. 2022): https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt (see github.com/universome/stylegan-v).

A TorchScript file is a program in PyTorch's own small language, with its weights. Loading it does not unpickle Python
objects and runs no Python, but running it runs the file's own operators: take it from where you trust it, and give its
hash as `objectives.quality.weights_sha256`.

B: videos. C: 3 colours. F: frames. H, W: pixels. D: features.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flexsearch.errors import UserError, reading
from flexsearch.models.pretrained import check_finite
from flexsearch.objectives.weights import FIELD

VIDEO_SIDE = 224
WHERE = (
    "StyleGAN-V's i3d_torchscript.pt (https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt, see "
    "github.com/universome/stylegan-v)"
)

_VIDEOS_AT_ONCE = 8  # 16 frames of them at 224x224 are 77 MB, and I3D's activations some GB
_OPTIONS = {"rescale": False, "resize": False, "return_features": True}


def resized_videos(videos: Tensor, side: int = VIDEO_SIDE) -> Tensor:
    """Resample the shorter side of float videos (B, C, F, H, W) bilinearly to `side`, and cut out the middle."""
    batch, _, frames, height, width = videos.shape
    scale = side / min(height, width)
    size = (max(side, round(height * scale)), max(side, round(width * scale)))
    images = F.interpolate(videos.transpose(1, 2).flatten(0, 1), size, mode="bilinear", align_corners=False)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    cut = images[..., top : top + side, left : left + side]
    out: Tensor = cut.unflatten(0, (batch, frames)).transpose(1, 2)
    return out


class VideoFeatures(nn.Module):
    """(B, D) features of uint8 videos (B, 3, F, H, W), by a TorchScript network.

    The network is given float32 videos (B, 3, F, 224, 224) in [-1, 1], with `rescale=False, resize=False,
    return_features=True` where it has these arguments, as I3D's file does.

    Raises:
        UserError: the file is no TorchScript network.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        with (
            reading(f"{FIELD}: {path}", rule=f"must be a TorchScript network, such as {WHERE}, but cannot be read"),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", FutureWarning)  # torch.export is to replace it; I3D is published so
            self.network = torch.jit.load(str(path), map_location="cpu")
            check_finite(self.network.state_dict())
        self.network.eval()
        known = {argument.name for argument in self.network.forward.schema.arguments}
        self.options: dict[str, Any] = _OPTIONS if known.issuperset(_OPTIONS) else {}

    def forward(self, images: Tensor) -> Tensor:
        parts = []
        for videos in images.split(_VIDEOS_AT_ONCE):
            found = self.network(resized_videos(videos.float() / 127.5 - 1), **self.options)
            if not isinstance(found, Tensor) or found.ndim != 2:
                shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
                raise UserError(f"must give features (B, D) of videos (B, 3, F, H, W), but gave {shape}", field=FIELD)
            parts.append(found.float())
        return torch.cat(parts)

"""The autoencoder of a latent diffusion model (Rombach et al. 2022, arXiv 2112.10752): diffusers' `AutoencoderKL`,
`AutoencoderDC` (SANA), which gives one latent in place of a distribution, `AutoencoderKLWan`, which joins frames, and
`AutoencoderKLQwenImage`, to which an image is a video of one frame.

Latents are in model units: minus a shift, where the configuration has one, times a scale; Wan's and Qwen-Image's have
both for every channel. Letters: B batch, C channels, F frames, f frames of latents; h and w are H and W over `stride`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from torch import Tensor

from flexsearch.device_memory import FittingRows
from flexsearch.errors import UserError
from flexsearch.models.pretrained import load_network, load_part, weights_digest

_OF_VIDEOS, _OF_ONE_FRAME = "AutoencoderKLWan", "AutoencoderKLQwenImage"
KINDS = ("AutoencoderKL", "AutoencoderDC", _OF_VIDEOS, _OF_ONE_FRAME)
"""diffusers' classes that are known."""
_ADVICE = "give a folder in diffusers' layout with vae/ and safetensors, or a model on the Hugging Face hub"


@dataclass(frozen=True, kw_only=True)
class Autoencoder:
    """An autoencoder in eval mode.

    Attributes:
        posterior: from images (B, channels, H, W) float32 in [-1, 1] to mean and standard deviation of their latents,
            both (B, C, h, w) float32 in model units, on the CPU. Where frames are joined, from videos
            (B, channels, F, H, W) to (B, C, f, h, w).
        decode: from latents (B, C, h, w) to images (B, 3, H, W), or (B, C, f, h, w) to (B, 3, F, H, W), about in
            [-1, 1], float32, on the autoencoder's device. f is F where frames are decoded one by one, else
            1 + (F - 1) / s.
        channels: of images, 3, or 1 where they are grey.
        stride: pixels of an image along one latent pixel.
        frame_stride: s, where s frames are joined to one of latents but for the first, which stays alone; None where
            each frame is encoded by itself.
        digest: identifies configuration and weights, before they are cast.
    """

    posterior: Callable[[Tensor], tuple[Tensor, Tensor]]
    decode: Callable[[Tensor], Tensor]
    channels: int
    stride: int
    frame_stride: int | None
    digest: str


def load_autoencoder(
    checkpoint: str,
    *,
    revision: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Autoencoder:
    """Load `CHECKPOINT/vae`; safetensors only.

    Args:
        checkpoint: a folder in diffusers' layout, or the name of a model on the Hugging Face hub.
        revision: of the model on the hub.
        device: where it runs.
        dtype: of its weights and what passes through them.

    Raises:
        UserError: the checkpoint has none that can be read.
    """
    name = load_part(_Config, checkpoint, "vae", revision=revision, advice=_ADVICE).get("_class_name", KINDS[0])
    if name not in KINDS:
        raise UserError(f"must be one of {list(KINDS)}, but got {name!r}", field=f"{checkpoint}/vae._class_name")
    vae = load_network(getattr(diffusers, name), checkpoint, "vae", revision=revision, advice=_ADVICE)
    shift, scale = _units(vae.config, device)
    architecture = {key: value for key, value in vae.config.items() if not key.startswith("_")}
    digest = weights_digest(vae.state_dict(), config=architecture)
    vae = vae.to(device=device, dtype=dtype).eval()
    joins_frames, is_of_one_frame = name == _OF_VIDEOS, name == _OF_ONE_FRAME
    encoding, decoding = FittingRows("encoding"), FittingRows("decoding")

    def posterior(images: Tensor) -> tuple[Tensor, Tensor]:
        means, deviations = zip(*encoding(lambda rows: encoded(images[rows]), len(images)), strict=True)
        return torch.cat(means), torch.cat(deviations)

    @torch.inference_mode()
    def encoded(images: Tensor) -> tuple[Tensor, Tensor]:
        images = images.to(device=device, dtype=dtype)
        found = vae.encode(images[:, :, None] if is_of_one_frame else images)
        if hasattr(found, "latent"):  # one, and no distribution
            mean, deviation = found.latent.float(), torch.zeros_like(found.latent, dtype=torch.float32)
        else:
            mean, deviation = found.latent_dist.mean.float(), found.latent_dist.std.float()
        mean, deviation = (mean - shift) * scale, deviation * scale
        if is_of_one_frame:
            mean, deviation = mean[:, :, 0], deviation[:, :, 0]
        return mean.cpu(), deviation.cpu()

    def decode(latents: Tensor) -> Tensor:
        if latents.ndim == 5 and not joins_frames:
            frames = decode(latents.transpose(1, 2).flatten(0, 1))  # (B*F, 3, H, W)
            videos: Tensor = frames.unflatten(0, (-1, latents.shape[2])).transpose(1, 2)
            return videos
        parts = decoding(lambda rows: decoded(latents[rows]), len(latents))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @torch.inference_mode()
    def decoded(latents: Tensor) -> Tensor:
        latents = latents.to(device=device).float()
        latents = latents[:, :, None] if is_of_one_frame else latents
        images: Tensor = vae.decode((latents / scale + shift).to(dtype)).sample.float()
        return images[:, :, 0] if is_of_one_frame else images

    return Autoencoder(
        posterior=posterior,
        decode=decode,
        channels=vae.config["input_channels" if is_of_one_frame else "in_channels"],
        stride=_stride(vae),
        frame_stride=2 ** sum(vae.config.temperal_downsample) if joins_frames else None,
        digest=digest,
    )


class _Config:
    """What `load_part` reads of a configuration: all of it."""

    from_pretrained = staticmethod(diffusers.AutoencoderKL.load_config)


def _units(config: Any, device: torch.device | str) -> tuple[Any, Any]:
    """Shift and scale from an autoencoder's latents to model units: numbers, or (C, 1, 1, 1) for every channel."""
    if config.get("latents_std") is not None:
        mean, deviation = (
            torch.tensor(config[name], device=device).view(-1, 1, 1, 1) for name in ("latents_mean", "latents_std")
        )
        return mean, 1 / deviation
    return float(config.get("shift_factor") or 0), float(config.scaling_factor)


def _stride(vae: Any) -> int:
    if hasattr(vae, "spatial_compression_ratio"):
        return int(vae.spatial_compression_ratio)
    return int(2 ** (len(vae.config.block_out_channels) - 1))

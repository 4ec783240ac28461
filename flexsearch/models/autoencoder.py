"""The autoencoder of a latent diffusion model (Rombach et al. 2022, arXiv 2112.10752): diffusers' `AutoencoderKL`.

Latents are in model units: minus the configuration's shift factor, where it has one, times its scaling factor. Letters:
B batch, F frames; h and w are H and W over `stride`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import diffusers
import torch
from torch import Tensor

from flexsearch.models.pretrained import load_network, weights_digest


@dataclass(frozen=True, kw_only=True)
class Autoencoder:
    """An autoencoder in eval mode.

    Attributes:
        posterior: from images (B, 3, H, W) float32 in [-1, 1] to mean and standard deviation of their latents, both
            (B, C, h, w) float32 in model units, on the CPU.
        decode: from latents (B, C, h, w) to images (B, 3, H, W), or (B, C, F, h, w) to (B, 3, F, H, W), about in
            [-1, 1], float32, on the autoencoder's device.
        stride: pixels of an image along one latent pixel.
        digest: identifies configuration and weights, before they are cast.
    """

    posterior: Callable[[Tensor], tuple[Tensor, Tensor]]
    decode: Callable[[Tensor], Tensor]
    stride: int
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
    vae = load_network(
        diffusers.AutoencoderKL,
        checkpoint,
        "vae",
        revision=revision,
        advice="give a folder in diffusers' layout with vae/ and safetensors, or a model on the Hugging Face hub",
    )
    shift, scale = float(vae.config.shift_factor or 0), float(vae.config.scaling_factor)
    architecture = {key: value for key, value in vae.config.items() if not key.startswith("_")}
    digest = weights_digest(vae.state_dict(), config=architecture)
    vae = vae.to(device=device, dtype=dtype).eval()

    @torch.inference_mode()
    def posterior(images: Tensor) -> tuple[Tensor, Tensor]:
        found = vae.encode(images.to(device=device, dtype=dtype)).latent_dist
        return (found.mean.float().cpu() - shift) * scale, found.std.float().cpu() * scale

    @torch.inference_mode()
    def decode(latents: Tensor) -> Tensor:
        if latents.ndim == 5:
            frames = decode(latents.transpose(1, 2).flatten(0, 1))  # (B*F, 3, H, W)
            videos: Tensor = frames.unflatten(0, (-1, latents.shape[2])).transpose(1, 2)
            return videos
        images: Tensor = vae.decode((latents.to(device=device).float() / scale + shift).to(dtype)).sample
        return images.float()

    stride = 2 ** (len(vae.config.block_out_channels) - 1)
    return Autoencoder(posterior=posterior, decode=decode, stride=stride, digest=digest)

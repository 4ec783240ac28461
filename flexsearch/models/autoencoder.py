"""The autoencoder of a latent diffusion model (Rombach et al. 2022, arXiv 2112.10752): diffusers' `AutoencoderKL`.

Latents are in model units: minus the configuration's shift factor, where it has one, times its scaling factor. Letters:
B batch, F frames; h and w are H and W over `stride`.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from safetensors import SafetensorError
from torch import Tensor

from flexsearch.errors import UserError
from flexsearch.measurement import canonical_json
from flexsearch.paths import resolve_path


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
    """Loads `CHECKPOINT/vae`; safetensors only.

    Args:
        checkpoint: a folder in diffusers' layout, or the name of a model on the Hugging Face hub.
        revision: of the model on the hub.
        device: where it runs.
        dtype: of its weights and what passes through them.

    Raises:
        UserError: the checkpoint has none that can be read.
    """
    local = resolve_path(checkpoint)
    hub: dict[str, Any] = {"revision": revision} if revision and not local.is_dir() else {}
    try:
        vae, found = diffusers.AutoencoderKL.from_pretrained(
            str(local) if local.is_dir() else checkpoint,
            subfolder="vae",
            use_safetensors=True,
            output_loading_info=True,
            **hub,
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"could not be loaded ({reason}); give a folder in diffusers' layout with vae/ and safetensors, or a model "
            "on the Hugging Face hub",
            field=f"{checkpoint}/vae",
        ) from None
    check_all_loaded(found["missing_keys"], field=f"{checkpoint}/vae")
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


def check_all_loaded(missing: Iterable[str], *, field: str) -> None:
    """Raises UserError where a checkpoint lacks weights: libraries put random ones in their place."""
    names = sorted(missing)
    if names:
        raise UserError(f"lacks {len(names)} weights of its architecture (first {names[0]})", field=field)


def weights_digest(weights: Mapping[str, Tensor], *, config: Mapping[str, Any]) -> str:
    """The SHA-256, in 64 hexadecimal digits, of a configuration (JSON values) and of all weights by name."""
    content = hashlib.sha256(canonical_json(config).encode())
    for name, weight in sorted(weights.items()):
        content.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        content.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()

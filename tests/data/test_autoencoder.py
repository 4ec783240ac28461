"""The autoencoder of a checkpoint: shapes, model units, videos, and what cannot be loaded."""

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from flexsearch.errors import UserError
from flexsearch.models.autoencoder import Autoencoder, load_autoencoder
from flexsearch.models.text_encoder import load_text_encoder


def test_latents_are_in_model_units(autoencoder: Autoencoder, checkpoint: Path) -> None:
    images = torch.rand(3, 3, 8, 12) * 2 - 1
    mean, std = autoencoder.posterior(images)
    assert mean.shape == std.shape == (3, 4, 4, 6)
    assert autoencoder.stride == 2
    vae = AutoencoderKL.from_pretrained(checkpoint, subfolder="vae").eval()
    with torch.inference_mode():
        theirs = vae.encode(images).latent_dist
        torch.testing.assert_close(mean, (theirs.mean - 0.1) * vae.config.scaling_factor)
        torch.testing.assert_close(std, theirs.std * vae.config.scaling_factor)
        torch.testing.assert_close(autoencoder.decode(mean), vae.decode(theirs.mean).sample, rtol=1e-4, atol=1e-5)


def test_videos_are_decoded_frame_by_frame(autoencoder: Autoencoder) -> None:
    latents = torch.randn(2, 4, 3, 4, 5)
    videos = autoencoder.decode(latents)
    assert videos.shape == (2, 3, 3, 8, 10)
    for frame in range(3):
        torch.testing.assert_close(videos[:, :, frame], autoencoder.decode(latents[:, :, frame]))


def test_the_digest_is_that_of_the_weights(
    autoencoder: Autoencoder, other_autoencoder: Autoencoder, checkpoint: Path, tmp_path: Path
) -> None:
    shutil.copytree(checkpoint / "vae", tmp_path / "vae")
    moved = load_autoencoder(str(tmp_path), dtype=torch.bfloat16)
    assert moved.digest == autoencoder.digest != other_autoencoder.digest
    assert moved.posterior(torch.zeros(1, 3, 8, 8))[0].dtype == torch.float32


def test_checkpoints_that_cannot_be_loaded(checkpoint: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(checkpoint, tmp_path / "copied")
    with pytest.raises(UserError, match="nowhere/vae: could not be loaded"):
        load_autoencoder(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="nowhere/text_encoder: could not be loaded"):
        load_text_encoder(str(tmp_path / "nowhere"))
    for load, folder, name in (
        (load_autoencoder, "vae", "diffusion_pytorch_model"),
        (load_text_encoder, "text_encoder", "model"),
    ):
        path = copied / folder / f"{name}.safetensors"
        whole, weights = path.read_bytes(), load_file(path)
        path.write_bytes(whole[:-100])
        with pytest.raises(UserError, match=f"copied/{folder}: could not be loaded"):
            load(str(copied))
        del weights[sorted(weights)[-1]]  # what is missing is not made up
        save_file(weights, path, metadata={"format": "pt"})
        with pytest.raises(UserError, match=f"copied/{folder}: "):
            load(str(copied))

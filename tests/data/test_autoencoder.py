"""The autoencoder of a checkpoint: shapes, model units, videos, and what cannot be loaded."""

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderKLQwenImage, AutoencoderKLWan
from safetensors.torch import load_file, save_file

from flexsearch.errors import Note, UserError
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


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_what_memory_does_not_hold_is_computed_in_parts(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    found, latents, images = load_autoencoder(str(checkpoint)), torch.randn(5, 4, 4, 5), torch.rand(5, 3, 8, 10)

    def room(module: object, inputs: tuple[torch.Tensor, ...]) -> None:
        if type(module).__name__.lower() == part and len(inputs[0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    compute = (lambda: found.decode(latents)) if part == "decoder" else lambda: torch.stack(found.posterior(images))
    expected = compute()
    hook = torch.nn.modules.module.register_module_forward_pre_hook(room)
    try:
        with pytest.warns(Note, match=r"out of memory while (en|de)coding 3 at once: 2 at a time from here on"):
            torch.testing.assert_close(compute(), expected, rtol=1e-4, atol=1e-5)
    finally:
        hook.remove()


def test_videos_are_decoded_frame_by_frame(autoencoder: Autoencoder) -> None:
    latents = torch.randn(2, 4, 3, 4, 5)
    videos = autoencoder.decode(latents)
    assert videos.shape == (2, 3, 3, 8, 10)
    for frame in range(3):
        torch.testing.assert_close(videos[:, :, frame], autoencoder.decode(latents[:, :, frame]))


def test_one_latent_in_place_of_a_distribution(tmp_path: Path) -> None:
    """SANA's autoencoder, in the units of SanaPipeline."""
    torch.manual_seed(0)
    blocks = {f"{side}_block_out_channels": (8, 8) for side in ("encoder", "decoder")}
    layers = {f"{side}_layers_per_block": (1, 1) for side in ("encoder", "decoder")}
    scales = {f"{side}_qkv_multiscales": ((), ()) for side in ("encoder", "decoder")}
    vae = AutoencoderDC(latent_channels=4, scaling_factor=0.5, **blocks, **layers, **scales).eval()
    vae.save_pretrained(tmp_path / "vae", safe_serialization=True)
    found, images = load_autoencoder(str(tmp_path)), torch.rand(2, 3, 8, 12) * 2 - 1
    latents, deviation = found.posterior(images)
    assert (latents.shape, found.stride, deviation.any()) == ((2, 4, 4, 6), 2, False)
    with torch.inference_mode():
        torch.testing.assert_close(latents, vae.encode(images).latent * 0.5)
        torch.testing.assert_close(found.decode(latents), vae.decode(latents / 0.5).sample)


def test_frames_that_are_decoded_together(tmp_path: Path) -> None:
    """Wan's autoencoder, in the units of WanPipeline: a mean and a deviation for every channel."""
    torch.manual_seed(0)
    vae = AutoencoderKLWan(base_dim=4, dim_mult=[1, 1, 1], num_res_blocks=1, temperal_downsample=[True, False]).eval()
    vae.register_to_config(scale_factor_spatial=4)
    vae.save_pretrained(tmp_path / "vae", safe_serialization=True)
    found, latents = load_autoencoder(str(tmp_path)), torch.randn(1, 16, 3, 2, 4)
    mean, deviation = (torch.tensor(vae.config[name])[:, None, None, None] for name in ("latents_mean", "latents_std"))
    with torch.inference_mode():
        expected = vae.decode(latents * deviation + mean).sample
    assert expected.shape == (1, 3, 5, 8, 16)
    torch.testing.assert_close(found.decode(latents), expected, rtol=1e-4, atol=1e-4)
    assert (found.stride, found.frame_stride) == (4, 2)
    videos = torch.rand(2, 3, 5, 8, 16) * 2 - 1
    center, spread = found.posterior(videos)
    with torch.inference_mode():
        theirs = vae.encode(videos).latent_dist
    torch.testing.assert_close(center, (theirs.mean - mean) / deviation)
    torch.testing.assert_close(spread, theirs.std / deviation)


def test_an_image_is_a_video_of_one_frame(tmp_path: Path) -> None:
    """Qwen-Image's autoencoder, in the units of QwenImagePipeline."""
    torch.manual_seed(0)
    options = {"dim_mult": [1, 1, 1], "num_res_blocks": 1, "temperal_downsample": [True, False]}
    vae = AutoencoderKLQwenImage(base_dim=4, **options).eval()
    vae.save_pretrained(tmp_path / "vae", safe_serialization=True)
    found, images = load_autoencoder(str(tmp_path)), torch.rand(2, 3, 8, 16) * 2 - 1
    mean, deviation = (torch.tensor(vae.config[name])[:, None, None] for name in ("latents_mean", "latents_std"))
    latents, spread = found.posterior(images)
    assert (latents.shape, found.stride) == ((2, 16, 2, 4), 4)
    with torch.inference_mode():
        theirs = vae.encode(images[:, :, None]).latent_dist
        torch.testing.assert_close(latents, (theirs.mean[:, :, 0] - mean) / deviation)
        torch.testing.assert_close(spread, theirs.std[:, :, 0] / deviation)
        expected = vae.decode((latents * deviation + mean)[:, :, None]).sample[:, :, 0]
    torch.testing.assert_close(found.decode(latents), expected, rtol=1e-4, atol=1e-4)


def test_other_autoencoders_are_named(checkpoint: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(checkpoint, tmp_path / "copied") / "vae" / "config.json"
    copied.write_text(copied.read_text().replace("AutoencoderKL", "AutoencoderTiny"))
    with pytest.raises(UserError, match=r"must be one of .* but got 'AutoencoderTiny'"):
        load_autoencoder(str(tmp_path / "copied"))


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

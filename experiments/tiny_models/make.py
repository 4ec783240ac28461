"""Trains a small MMDiT (SD3's class) on clothes and a small Wan on moving clothes, as pipelines of diffusers.

    OMP_NUM_THREADS=1 uv run python experiments/tiny_models/make.py mmdit --out models/mmdit
    OMP_NUM_THREADS=1 uv run python experiments/tiny_models/make.py wan --out models/wan

Each folder is what a publisher's is: transformer, scheduler, autoencoder, tokenizers and text encoders, which
`diffusers.DiffusionPipeline.from_pretrained` and `flexsearch init` read. Each takes less than an hour of one core.
Everything comes from the 10,000 images of Fashion-MNIST in the package; nothing is downloaded. Captions are made from
labels: "a boot", "a bag moves left". Text encoders are random and stay so: a vocabulary of some words needs no more.
Autoencoders are trained first, for some minutes. The same command goes on after an interruption.
"""

import argparse
import csv
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diffusers
import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)

from flexsearch.cpu_memory import keep_freed_memory
from flexsearch.data.conditions import CaptionConditions, Condition, joined
from flexsearch.data.embedded import load_quickstart
from flexsearch.diffusion.batches import BatchStream
from flexsearch.diffusion.optimisation import Optimisation
from flexsearch.diffusion.process import process_of
from flexsearch.diffusion.training import Step, Training
from flexsearch.models.architectures import architecture_named
from flexsearch.models.prompt_encoder import load_prompt_encoder
from flexsearch.trial.resumable import train_resumably

ITEMS = ("tee", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
DIRECTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
STILL = tuple(f"a {item}" for item in ITEMS)
MOVING = tuple(f"a {item} moves {direction}" for item in ITEMS for direction in DIRECTIONS)
WORDS = ("<pad>", "</s>", "<unk>", "a", "moves", *DIRECTIONS, *ITEMS)
TEXT, TOKENS = 64, 5  # channels of an embedding, tokens of a text encoder

SIDE, ITEM, FRAMES = 16, 10, 5  # of a video: its side and an item's in pixels, frames, each a pixel further
LATENTS = 4

MMDIT: dict[str, Any] = {
    "sample_size": 8,
    "patch_size": 2,
    "in_channels": LATENTS,
    "out_channels": LATENTS,
    "num_layers": 8,
    "num_attention_heads": 4,
    "attention_head_dim": 16,
    "joint_attention_dim": TEXT,
    "caption_projection_dim": 64,
    "pooled_projection_dim": TEXT,
    "pos_embed_max_size": 4,
    "qk_norm": "rms_norm",
    "text_tokens": 2 * TOKENS,
}
WAN: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "in_channels": LATENTS,
    "out_channels": LATENTS,
    "num_layers": 6,
    "num_attention_heads": 4,
    "attention_head_dim": 16,
    "ffn_dim": 256,
    "text_dim": TEXT,
    "text_tokens": TOKENS,
    "sample_size": (1 + (FRAMES - 1) // 2, SIDE // 2, SIDE // 2),
}


@dataclass(frozen=True, kw_only=True)
class Captioned:
    """Latents in model units with a caption each, a `DataSource`.

    Attributes:
        latents: (N, C, H, W), or (N, C, F, H, W) of videos.
        captions: (N,) which of the conditions' captions each has.
        conditions: all captions, embedded.
    """

    latents: Tensor
    captions: Tensor
    conditions: CaptionConditions
    digest: str = "made here"

    def __len__(self) -> int:
        return len(self.latents)

    def clean(self, indices: Tensor) -> Tensor:
        return self.latents[indices]

    def condition(self, indices: Tensor) -> Condition:
        return self.conditions.of_captions(self.captions[indices].tolist())


class Called(nn.Module):
    """A transformer of diffusers, called as `Training` does."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, noisy: Tensor, time: Tensor, **condition: Tensor) -> Any:
        return self.transformer(hidden_states=noisy, timestep=time, **condition)


def clothes() -> tuple[Tensor, Tensor]:
    """(N, 1, 16, 16) float32 in [-1, 1], and which of STILL each is."""
    images = load_quickstart()
    return images.clean(torch.arange(len(images))), images.labels


def moving_clothes(num: int) -> tuple[Tensor, Tensor]:
    """(N, 1, 5, 16, 16) float32 in [-1, 1], and which of MOVING each is; an item crosses about the middle."""
    images, labels = (part[:num] for part in clothes())
    small = F.interpolate(images, (ITEM, ITEM), mode="bilinear", antialias=True)
    generator = torch.Generator().manual_seed(0)
    directions = torch.randint(len(DIRECTIONS), (len(images),), generator=generator)
    jitter = torch.randint(-1, 2, (len(images), 2), generator=generator)
    videos = torch.full((len(images), 1, FRAMES, SIDE, SIDE), -1.0)
    moves = torch.tensor(list(DIRECTIONS.values()))[directions]
    for index, (image, (top, left), move) in enumerate(zip(small, jitter.tolist(), moves.tolist(), strict=True)):
        for frame in range(FRAMES):
            y, x = (
                (SIDE - ITEM) // 2 + offset + way * (frame - FRAMES // 2)
                for offset, way in zip((top, left), move, strict=True)
            )
            videos[index, :, frame, y : y + ITEM, x : x + ITEM] = image
    return videos, labels * len(DIRECTIONS) + directions


def tokenizer() -> PreTrainedTokenizerFast:
    """Whole words, and an end."""
    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=TOKENS
    )


def random_features(encoder: nn.Module) -> Any:
    """Random weights under which words make a difference at the end of a prompt, too."""
    for name, weight in encoder.named_parameters():
        if weight.ndim > 1:
            is_table = "embed" in name or "shared" in name
            nn.init.normal_(weight, std=1.0 if is_table else weight.shape[1] ** -0.5)
    return encoder.eval()


def clip() -> Any:
    config = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=TEXT // 2,
        projection_dim=TEXT // 2,
        intermediate_size=TEXT,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    return random_features(CLIPTextModelWithProjection(config))


def t5(config_class: Any, model_class: Any) -> Any:
    config = config_class(
        d_model=TEXT, d_kv=16, d_ff=2 * TEXT, num_layers=1, num_heads=4, vocab_size=len(WORDS), pad_token_id=0
    )
    return model_class(config).eval()


def mmdit_pipeline(folder: Path, *, updates: int) -> None:
    """Leave a StableDiffusion3Pipeline whose transformer is not trained yet; its autoencoder is, in `updates`."""
    images, _ = clothes()
    vae = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        latent_channels=LATENTS,
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        mid_block_add_attention=False,
        norm_num_groups=8,
        sample_size=16,
    )
    train_autoencoder(vae, images, updates=updates, batch=32)
    latents = encoded(vae, images[:2000])
    vae.register_to_config(shift_factor=float(latents.mean()), scaling_factor=1 / float(latents.std()))
    transformer = SD3Transformer2DModel.from_config(MMDIT)
    for block in transformer.transformer_blocks:
        zero(block.norm1.linear, block.norm1_context.linear)
    zero(transformer.norm_out.linear, transformer.proj_out)
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae,
        text_encoder=clip(),
        tokenizer=tokenizer(),
        text_encoder_2=clip(),
        tokenizer_2=tokenizer(),
        text_encoder_3=t5(T5Config, T5EncoderModel),
        tokenizer_3=tokenizer(),
    ).save_pretrained(folder)


def wan_pipeline(folder: Path, *, updates: int) -> None:
    """Leave a WanPipeline whose transformer is not trained yet; its autoencoder is, in `updates`."""
    videos, _ = moving_clothes(1000)
    vae = AutoencoderKLWan(
        base_dim=4,
        z_dim=LATENTS,
        dim_mult=[1, 2],
        num_res_blocks=1,
        temperal_downsample=[True],
        latents_mean=[0.0] * LATENTS,
        latents_std=[1.0] * LATENTS,
        in_channels=1,
        out_channels=1,
        scale_factor_temporal=2,
        scale_factor_spatial=2,
    )
    train_autoencoder(vae, videos, updates=updates, batch=8)
    latents = encoded(vae, videos[:200]).transpose(0, 1).flatten(1)
    vae.register_to_config(latents_mean=latents.mean(1).tolist(), latents_std=latents.std(1).tolist())
    transformer = WanTransformer3DModel.from_config(WAN)
    zero(transformer.proj_out)
    WanPipeline(
        transformer=transformer,
        scheduler=UniPCMultistepScheduler(use_flow_sigmas=True, flow_shift=1.0, prediction_type="flow_prediction"),
        vae=vae,
        text_encoder=t5(UMT5Config, UMT5EncoderModel),
        tokenizer=tokenizer(),
    ).save_pretrained(folder)


def zero(*layers: nn.Linear) -> None:
    for layer in layers:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


def train_autoencoder(vae: Any, data: Tensor, *, updates: int, batch: int) -> None:
    """By squared error, and so little of a prior that latents keep all."""
    optimiser = torch.optim.AdamW(vae.parameters(), lr=2e-3)
    generator, began = torch.Generator().manual_seed(1), time.process_time()
    for update in range(updates):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, 2 * (1 - update / updates))
        images = data[torch.randint(len(data), (batch,), generator=generator)]
        posterior = vae.encode(images).latent_dist
        loss = (vae.decode(posterior.sample()).sample - images).square().mean()
        (loss + 1e-4 * posterior.kl().mean() / images[0].numel()).backward()
        optimiser.step()
        optimiser.zero_grad()
        if (update + 1) % 100 == 0:
            print(f"autoencoder, update {update + 1}: {loss:.5f}, {time.process_time() - began:.0f} s", flush=True)
    vae.eval()


@torch.inference_mode()
def encoded(vae: Any, data: Tensor) -> Tensor:
    """Means of the posterior, as the autoencoder gives them."""
    return torch.cat([vae.encode(part).latent_dist.mode() for part in data.split(100)])


def embedded(backbone: str, folder: Path, captions: tuple[str, ...], *, max_tokens: int) -> CaptionConditions:
    """Captions as a search embeds them."""
    encoder = load_prompt_encoder(architecture_named(backbone, field="backbone"), str(folder), max_tokens=max_tokens)
    (empty,), prompts = encoder.embed([""]), encoder.embed(captions)
    return CaptionConditions(
        **joined(prompts),
        empty=empty.tokens,
        max_tokens=max_tokens,
        has_mask=False,
        empty_pooled=empty.pooled,
    )


def mmdit_data(folder: Path, *, num: int) -> Captioned:
    vae: Any = AutoencoderKL.from_pretrained(folder / "vae").eval()
    images, labels = (part[:num] for part in clothes())
    latents = (encoded(vae, images) - vae.config.shift_factor) * vae.config.scaling_factor
    conditions = embedded("sd3", folder, STILL, max_tokens=MMDIT["text_tokens"])
    return Captioned(latents=latents, captions=labels, conditions=conditions)


def wan_data(folder: Path, *, num: int) -> Captioned:
    vae: Any = AutoencoderKLWan.from_pretrained(folder / "vae").eval()
    videos, captions = moving_clothes(num)
    mean, std = (torch.tensor(vae.config[name]).view(-1, 1, 1, 1) for name in ("latents_mean", "latents_std"))
    latents = (encoded(vae, videos) - mean) / std
    conditions = embedded("wan", folder, MOVING, max_tokens=WAN["text_tokens"])
    return Captioned(latents=latents, captions=captions, conditions=conditions)


@dataclass(frozen=True, kw_only=True)
class Made:
    """A kind of model.

    Attributes:
        pipeline: leaves a pipeline in a folder, its autoencoder trained in so many updates.
        data: gives so many latents of that pipeline.
        transformer: diffusers' class.
        scheduler: diffusers' class.
        captions: all that it knows.
        autoencoder_updates: of its autoencoder.
        num: of items that it is trained on.
        optimisation: of its transformer.
    """

    pipeline: Callable[..., None]
    data: Callable[..., Captioned]
    transformer: Any
    scheduler: Any
    captions: tuple[str, ...]
    autoencoder_updates: int
    num: int
    optimisation: Optimisation


KINDS = {
    "mmdit": Made(
        pipeline=mmdit_pipeline,
        data=mmdit_data,
        transformer=SD3Transformer2DModel,
        scheduler=FlowMatchEulerDiscreteScheduler,
        captions=STILL,
        autoencoder_updates=1500,
        num=10_000,
        optimisation=Optimisation(
            updates=6000, batch=64, learning_rate=2e-3, warmup=100, decay="cooldown", ema_decay=0.995
        ),
    ),
    "wan": Made(
        pipeline=wan_pipeline,
        data=wan_data,
        transformer=WanTransformer3DModel,
        scheduler=UniPCMultistepScheduler,
        captions=MOVING,
        autoencoder_updates=2000,
        num=4000,
        optimisation=Optimisation(
            updates=7000, batch=32, learning_rate=2e-3, warmup=100, decay="cooldown", ema_decay=0.99
        ),
    ),
}
TOY = {"autoencoder_updates": 3, "num": 50, "optimisation": Optimisation(updates=2, batch=4)}
"""Enough to see that it runs."""


def train(kind: Made, folder: Path, *, updates: int | None, curve: Path) -> None:
    """Train what is not there yet, and write the averaged transformer."""
    optimisation = kind.optimisation if updates is None else replace(kind.optimisation, updates=updates)
    if not (folder / "model_index.json").exists():
        torch.manual_seed(0)
        kind.pipeline(folder, updates=kind.autoencoder_updates)
        (folder / "prompts.txt").write_text("\n".join(kind.captions) + "\n", encoding="utf-8")
    model = Called(kind.transformer.from_pretrained(folder / "transformer"))
    training = Training(
        model,
        process=process_of(kind.scheduler.from_pretrained(folder / "scheduler")),
        stream=BatchStream(data=kind.data(folder, num=kind.num), batch=optimisation.batch, seed=0),
        optimisation=optimisation,
    )
    losses: list[float] = []
    began = time.process_time()

    def report(step: Step) -> None:
        losses.append(step.loss)
        if step.update % 100 == 0:
            row = [step.update, f"{sum(losses[-100:]) / len(losses[-100:]):.4f}", f"{time.process_time() - began:.0f}"]
            print(*row, flush=True)
            with curve.open("a", newline="") as file:
                csv.writer(file).writerow(row)

    checkpoint = folder / "training.checkpoint"
    train_resumably(training, checkpoint, save_every=250, report=report)
    averaged: Any = training.averaged
    averaged.transformer.save_pretrained(folder / "transformer", safe_serialization=True)
    checkpoint.unlink(missing_ok=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--out", type=Path, required=True, help="folder of the pipeline")
    parser.add_argument("--updates", type=int, help="other than its own number")
    parser.add_argument("--curve", type=Path, help="CSV: updates, mean loss of the last 100, seconds of processor time")
    parser.add_argument("--toy", action="store_true", help="a rehearsal in some seconds")
    arguments = parser.parse_args()
    keep_freed_memory()
    diffusers.utils.logging.set_verbosity_error()
    arguments.out.mkdir(parents=True, exist_ok=True)
    made = KINDS[arguments.kind]
    train(
        replace(made, **TOY) if arguments.toy else made,
        arguments.out,
        updates=arguments.updates,
        curve=arguments.curve or arguments.out / "loss.csv",
    )

"""The models of the FlexDiT paper, FLUX.1 and Wan with random weights, at their own sizes or small ones of the same
architecture."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import diffusers
import torch
from diffusers import ModelMixin

from flexsearch.models.architectures import ARCHITECTURES
from flexsearch.models.backbones import backbone_named
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.presets import PRESETS, paper_schedule
from flexsearch.schedule.shape import TransformerShape

diffusers.utils.logging.set_verbosity_error()


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One model to be timed.

    Attributes:
        name: of it in tables.
        backbone: its architecture.
        config: of diffusers' class.
        presets: the paper's schedules for it.
        guidance: the scale of its publishers; above 1 every sample is two rows, but of a base that embeds it.
        smaller: fields of a small model's configuration; None are those of a model of the paper.
    """

    name: str
    backbone: str
    config: Mapping[str, Any]
    presets: tuple[str, ...]
    guidance: float = 1.5
    smaller: Mapping[str, Any] | None = None

    @property
    def shape(self) -> TransformerShape:
        return ARCHITECTURES[self.backbone].shape_of(self.config)

    @property
    def schedules(self) -> dict[str, DensitySchedule]:
        """The paper's schedules by name; a small model has the scaled one."""
        if self.presets:
            return {name: PRESETS[name].schedule for name in self.presets}
        return {"flexdit_scaled": paper_schedule(num_blocks=self.shape.num_blocks, grid=self.shape.grid)}

    def base(self, *, device: torch.device, dtype: torch.dtype) -> ModelMixin:
        """diffusers' own model, random weights. diffusers starts adaLN at random, so nothing is zero."""
        torch.manual_seed(0)
        with torch.device(device):
            model: ModelMixin = backbone_named(self.backbone, field="backbone").base_class.from_config(self.config)
        if self.backbone == "dit":  # in the public checkpoints all embedders are equal
            first = model.transformer_blocks[0].norm1.emb.state_dict()
            for block in model.transformer_blocks[1:]:
                block.norm1.emb.load_state_dict(first)
        return model.to(dtype).eval()


_DIT_B = {
    **ARCHITECTURES["dit"].known["facebook/DiT-XL-2-256"],
    "num_attention_heads": 12,
    "attention_head_dim": 64,
    "num_layers": 12,
}

_SUBJECTS = (
    Subject(name="dit_b_256", backbone="dit", config=_DIT_B, presets=("flexdit_b_256_r61_86",)),
    Subject(
        name="dit_xl_256",
        backbone="dit",
        config=ARCHITECTURES["dit"].known["facebook/DiT-XL-2-256"],
        presets=("flexdit_xl_256_r44", "flexdit_xl_256_r61_86"),
    ),
    Subject(
        name="dit_xl_512",
        backbone="dit",
        config=ARCHITECTURES["dit"].known["facebook/DiT-XL-2-512"],
        presets=("flexdit_xl_512_r61_86", "flexdit_xl_512_r90_96"),
    ),
    Subject(
        name="pixart_256",
        backbone="pixart",
        config=ARCHITECTURES["pixart"].known["PixArt-alpha/PixArt-XL-2-256x256"],
        presets=("flexdit_pixart_256",),
        guidance=4.5,
    ),
    Subject(
        name="latte_512",
        backbone="latte",
        config=ARCHITECTURES["latte"].known["maxin-cn/Latte-1"],
        presets=("flexdit_latte_r90_96",),
        guidance=7.5,
    ),
)
SUBJECTS = {subject.name: subject for subject in _SUBJECTS}

_LARGE = (
    Subject(
        name="flux_dev",
        backbone="flux",
        config=ARCHITECTURES["flux"].known["black-forest-labs/FLUX.1-dev"],
        presets=(),
        guidance=3.5,
        smaller={
            "num_attention_heads": 4,
            "attention_head_dim": 12,
            "axes_dims_rope": [4, 4, 4],
            "num_layers": 3,
            "num_single_layers": 4,
            "in_channels": 16,
            "joint_attention_dim": 32,
            "pooled_projection_dim": 16,
            "sample_size": 16,
            "text_tokens": 8,
        },
    ),
    Subject(
        name="wan_1_3b",
        backbone="wan",
        config=ARCHITECTURES["wan"].known["Wan-AI/Wan2.1-T2V-1.3B-Diffusers"],
        presets=(),
        guidance=5.0,
        smaller={
            "num_attention_heads": 4,
            "attention_head_dim": 12,
            "num_layers": 7,
            "ffn_dim": 96,
            "in_channels": 4,
            "out_channels": 4,
            "text_dim": 32,
            "sample_size": [4, 16, 16],
            "text_tokens": 8,
        },
    ),
)
LARGE = {subject.name: subject for subject in _LARGE}
"""What people run: 4096 tokens of FLUX.1-dev at 1024 px, 32,760 of Wan2.1-1.3B at 480p."""


def small(subject: Subject) -> Subject:
    """The same architecture with 7 blocks, width 48 and 64 tokens (a frame): runs anywhere in seconds."""
    if subject.smaller is not None:
        return replace(subject, config={**subject.config, **subject.smaller})
    changes: dict[str, Any] = {"num_attention_heads": 4, "attention_head_dim": 12, "num_layers": 7, "sample_size": 16}
    if "caption_channels" in subject.config:
        changes |= {"caption_channels": 32, "cross_attention_dim": 48}
    if "video_length" in subject.config:
        changes |= {"video_length": 4}
    return replace(subject, config={**subject.config, **changes}, presets=())

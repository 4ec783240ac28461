"""Adapter of diffusers' `QwenImageTransformer2DModel` (Qwen-Image, Wu et al. 2025, arXiv 2508.02324).

diffusers' pipelines call it with packed latents, as FLUX's, and their shapes; flexsearch with latents (B, channels, H,
W). Places of image tokens are centred, those of text tokens follow on the diagonal. Letters: B batch, N dense tokens, n
tokens, S text tokens, C width.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from diffusers import QwenImageTransformer2DModel
from torch import Tensor

from flexsearch.errors import UserError, shown
from flexsearch.models.architectures.qwen_image import shape_of
from flexsearch.models.backbones.block import fuse_projections
from flexsearch.models.backbones.fused import FusedLinears
from flexsearch.models.backbones.joint import DoubleStreamBlock, JointModulation, Stream, given, modulation_of
from flexsearch.models.backbones.modulation import Caption, Conditioning
from flexsearch.models.backbones.packed import packed, places_of, unpacked
from flexsearch.models.backbones.protocol import Opened
from flexsearch.models.backbones.rotary import complex_table, rotated
from flexsearch.schedule.shape import TokenGrid


class QwenImageBackbone:
    """A `QwenImageTransformer2DModel`, taken apart."""

    base_class: ClassVar[Any] = QwenImageTransformer2DModel
    reads: ClassVar[tuple[str, ...]] = (
        "encoder_hidden_states",
        "encoder_hidden_states_mask",
        "encoder_attention_mask",
        "img_shapes",
    )
    rewrites_text: ClassVar[bool] = True

    def __init__(self, base: QwenImageTransformer2DModel, *, tied: bool | None = None) -> None:
        self.base = base
        self.tied = False
        self.tied_copies: list[tuple[str, str]] = []
        self.shape = shape_of(base.config)
        self.blocks = [
            DoubleStreamBlock(
                block,
                image=Stream(block.img_norm1, block.img_norm2, block.img_mlp),
                text=Stream(block.txt_norm1, block.txt_norm2, block.txt_mlp),
                rotate=rotated,
            )
            for block in base.transformer_blocks
        ]

    def grid_of(self, sample: Tensor, condition: Mapping[str, Any]) -> TokenGrid:
        if sample.ndim == 4:
            return TokenGrid(height=sample.shape[2] // 2, width=sample.shape[3] // 2)
        shapes = condition.get("img_shapes")
        if shapes is None:
            raise UserError("is missing: it says how packed latents lie", field="img_shapes")
        images = shapes[0] if isinstance(shapes[0], list) else [shapes[0]]
        if len(images) != 1 or any(one != shapes[0] for one in shapes) or images[0][0] != 1:
            raise UserError(f"must be of one image each, all alike, but got {shown(shapes)}", field="img_shapes")
        _, height, width = images[0]
        return TokenGrid(height=height, width=width)

    def timestep_of(self, sample: Tensor, timestep: Tensor) -> Tensor:
        return timestep * 1000 if sample.ndim == 3 else timestep

    def caption(self, condition: Mapping[str, Tensor], dtype: torch.dtype) -> Caption:
        states = given(condition, "encoder_hidden_states", "captions").to(dtype)
        mask = condition.get("encoder_hidden_states_mask", condition.get("encoder_attention_mask"))
        tokens = self.base.txt_in(self.base.txt_norm(states))
        return Caption(tokens=tokens, bias=None if mask is None else mask.bool()[:, None, None])

    def open(
        self,
        sample: Tensor,
        timestep: Tensor,
        condition: Mapping[str, Any],
        caption: Caption | None,
        blocks: Sequence[int],
    ) -> Opened:
        assert caption is not None, "it is a base that rewrites text"
        is_packed, grid = sample.ndim == 3, self.grid_of(sample, condition)
        tokens = self.base.img_in(sample if is_packed else packed(sample, 2))
        time = timestep.to(sample.dtype) if is_packed else timestep.to(sample.dtype) / 1000
        embedding = self.base.time_text_embed(time.to(tokens.dtype), tokens)
        activated = F.silu(embedding)
        modulations = {
            block: JointModulation(modulation_of(own.img_mod[1], activated), modulation_of(own.txt_mod[1], activated))
            for block, own in ((one, self.base.transformer_blocks[one]) for one in blocks)
        }
        centre = (grid.height - grid.height // 2, grid.width - grid.width // 2)
        places = places_of(grid, sample.device, origin=centre)
        first = max(grid.height // 2, grid.width // 2)
        of_text = torch.arange(first, first + caption.tokens.shape[1], device=sample.device)[None, :, None]
        conditioning = Conditioning(embedding=embedding, modulations=modulations, is_packed=is_packed)
        return Opened(tokens, conditioning, caption, places, self.rotary(of_text.expand(-1, -1, 3).float()))

    @staticmethod
    def embedded(pipeline: Any, prompt: str, *, max_tokens: int) -> tuple[Tensor, None]:
        """(L, D) of a prompt, by a `QwenImagePipeline`."""
        tokens, mask = pipeline.encode_prompt(prompt, max_sequence_length=max_tokens)
        return tokens[0] if mask is None else tokens[0][mask[0].bool()], None

    def rotary(self, places: Tensor) -> Tensor:
        rope = self.base.pos_embed
        return complex_table(places, rope.axes_dim, theta=rope.theta, dtype=torch.float32)

    def head(self, tokens: Tensor, conditioning: Conditioning, grid: TokenGrid) -> Tensor:
        projected: Tensor = self.base.proj_out(self.base.norm_out(tokens, conditioning.embedding))
        return projected if conditioning.is_packed else unpacked(projected, grid, 2)

    def fuse(self) -> list[FusedLinears]:
        return fuse_projections(self.blocks)

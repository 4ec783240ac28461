"""Adapter of diffusers' `QwenImageTransformer2DModel` (Qwen-Image, Wu et al. 2025, arXiv 2508.02324).

diffusers' pipelines give packed latents with their shapes. Places of image tokens are centred, those of text tokens
follow on the diagonal. Letters: B batch, N dense tokens, n tokens, S text tokens, C width.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from diffusers import QwenImageTransformer2DModel
from torch import Tensor

from flexsearch.errors import UserError, shown
from flexsearch.models.architectures.qwen_image import shape_of
from flexsearch.models.backbones.joint import DoubleStreamBlock, JointModulation, Stream, modulation_of
from flexsearch.models.backbones.modulation import Caption, Conditioning, given
from flexsearch.models.backbones.packed import PackedBackbone, places_of
from flexsearch.models.backbones.rotary import complex_table, rotated
from flexsearch.schedule.shape import TokenGrid


class QwenImageBackbone(PackedBackbone):
    """A `QwenImageTransformer2DModel`, taken apart."""

    base_class = QwenImageTransformer2DModel
    shape_of = staticmethod(shape_of)
    reads = ("encoder_hidden_states", "encoder_hidden_states_mask", "encoder_attention_mask", "img_shapes")
    processors: ClassVar = {"attn": "QwenDoubleStreamAttnProcessor2_0"}

    def take_apart(self) -> list[DoubleStreamBlock]:
        return [
            DoubleStreamBlock(
                block,
                image=Stream(block.img_norm1, block.img_norm2, block.img_mlp),
                text=Stream(block.txt_norm1, block.txt_norm2, block.txt_mlp),
                rotate=rotated,
            )
            for block in self.base.transformer_blocks
        ]

    def grid_of(self, sample: Tensor, condition: Mapping[str, Any]) -> TokenGrid:
        if sample.ndim == 4:
            return super().grid_of(sample, condition)
        shapes = condition.get("img_shapes")
        if shapes is None:
            raise UserError("is missing: it says how packed latents lie", field="img_shapes")
        images = shapes[0] if isinstance(shapes[0], list) else [shapes[0]]
        if len(images) != 1 or any(one != shapes[0] for one in shapes) or images[0][0] != 1:
            raise UserError(f"must be of one image each, all alike, but got {shown(shapes)}", field="img_shapes")
        _, height, width = images[0]
        return TokenGrid(height=height, width=width)

    def caption(self, condition: Mapping[str, Tensor], dtype: torch.dtype) -> Caption:
        states = given(condition, "encoder_hidden_states", "captions").to(dtype)
        mask = condition.get("encoder_hidden_states_mask", condition.get("encoder_attention_mask"))
        tokens = self.base.txt_in(self.base.txt_norm(states))
        return Caption(tokens=tokens, bias=None if mask is None else mask.bool()[:, None, None])

    def embed(self, sample: Tensor) -> Tensor:
        tokens: Tensor = self.base.img_in(sample)
        return tokens

    def conditioning(
        self, timestep: Tensor, condition: Mapping[str, Any], dtype: torch.dtype, blocks: Sequence[int]
    ) -> Conditioning:
        time = timestep.to(dtype)
        embedding = self.base.time_text_embed(time, time)  # of the second, its dtype is read
        activated = F.silu(embedding)
        modulations = {
            block: JointModulation(modulation_of(own.img_mod[1], activated), modulation_of(own.txt_mod[1], activated))
            for block, own in ((one, self.base.transformer_blocks[one]) for one in blocks)
        }
        return Conditioning(embedding, modulations)

    def places(self, sample: Tensor, condition: Mapping[str, Any], num_text: int) -> tuple[Tensor, Tensor]:
        grid = self.grid_of(sample, condition)
        centre = (grid.height - grid.height // 2, grid.width - grid.width // 2)
        first = max(grid.height // 2, grid.width // 2)
        of_text = torch.arange(first, first + num_text, device=sample.device)[None, :, None]
        return places_of(grid, sample.device, origin=centre), of_text.expand(-1, -1, 3).float()

    @staticmethod
    def embedded(pipeline: Any, prompt: str, *, max_tokens: int) -> tuple[Tensor, None]:
        """(L, D) of a prompt, by a `QwenImagePipeline`."""
        tokens, mask = pipeline.encode_prompt(prompt, max_sequence_length=max_tokens)
        return tokens[0] if mask is None else tokens[0][mask[0].bool()], None

    def rotary(self, places: Tensor) -> Tensor:
        rope = self.base.pos_embed
        return complex_table(places, rope.axes_dim, theta=rope.theta, dtype=torch.float32)

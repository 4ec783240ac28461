"""Say how images are drawn. Needs no torch."""

from typing import Literal

from flexsearch.schedule.clock import Spacing
from flexsearch.schedule.shape import TransformerShape
from flexsearch.settings import PositiveCount, settings


@settings
class SamplingSettings:
    """How images are drawn.

    Attributes:
        guidance: scale of guidance. Classifier-free: 1 needs no second row. A base that embeds the scale (FLUX.1-dev)
            reads it, and has one row.
        guidance_channels: guide only the first channels: DiT's original code guides 3 of 4, diffusers' `DiTPipeline`
            all 4; None guides all of the data's.
        dtype: "fp32", or "bf16" for autocast.
        spacing: of flow matching's sigmas: "pipeline" is `linspace(1, 1 / n, n)`, as diffusers' pipelines have it;
            "scheduler", the spacing of flexsearch before 0.2, wastes the last of n model calls.
    """

    guidance: float = 1.0
    guidance_channels: PositiveCount | None = None
    dtype: Literal["fp32", "bf16"] = "fp32"
    spacing: Spacing = "pipeline"

    def is_guided(self, shape: TransformerShape) -> bool:
        """Tell whether every call of a model of these sizes has a second row per image, without condition."""
        return self.guidance != 1.0 and not shape.embeds_guidance

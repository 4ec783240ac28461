"""Say how images are drawn. Needs no torch."""

from dataclasses import asdict
from typing import Any, Literal

from flexsearch.errors import UserError
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
        guidance_renorm: rescale what guidance gives for each token to the length of the output with the condition, as
            `QwenImagePipeline` does. For bases that read text.
        dtype: "fp32", or "bf16" for autocast.
        spacing: of flow matching's sigmas: "pipeline" is `linspace(1, 1 / n, n)`, as diffusers' pipelines have it;
            "scheduler", the spacing of the first versions of flexsearch, wastes the last of n model calls.
    """

    guidance: float = 1.0
    guidance_channels: PositiveCount | None = None
    guidance_renorm: bool = False
    dtype: Literal["fp32", "bf16"] = "fp32"
    spacing: Spacing = "pipeline"

    @property
    def facts(self) -> dict[str, Any]:
        """What tells images apart that are drawn in different ways; fields of later versions only where they differ."""
        return {name: value for name, value in asdict(self).items() if name != "guidance_renorm" or value}

    def check(self, shape: TransformerShape) -> None:
        """Check that a base of these sizes can be drawn so.

        Raises:
            UserError: it cannot; names the field.
        """
        if self.guidance_channels is not None and self.guidance_channels > shape.in_channels:
            raise UserError(
                f"must be at most {shape.in_channels}, as many as the data have, but got {self.guidance_channels}",
                field="sampling.guidance_channels",
            )
        if self.guidance_renorm and not shape.text_tokens:
            raise UserError("is for bases that read text", field="sampling.guidance_renorm")
        if self.guidance_renorm and self.guidance_channels is not None:
            raise UserError(
                "guides all channels: guidance_channels must not be given", field="sampling.guidance_renorm"
            )

    def embedded_guidance(self, shape: TransformerShape) -> float | None:
        """Give the scale that a model of these sizes embeds; None where it embeds none."""
        return self.guidance if shape.embeds_guidance else None

    def is_guided(self, shape: TransformerShape) -> bool:
        """Tell whether every call of a model of these sizes has a second row per image, without condition."""
        return self.guidance != 1.0 and not shape.embeds_guidance

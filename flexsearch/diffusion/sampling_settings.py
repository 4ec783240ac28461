"""How images are drawn. Needs no torch."""

from typing import Literal

from flexsearch.settings import settings


@settings
class SamplingSettings:
    """How images are drawn.

    Attributes:
        guidance: classifier-free guidance scale; 1 needs no second pass.
        guidance_channels: guide only the first channels (DiT's published setting is 3); None guides all of the data's.
        dtype: "fp32", or "bf16" for autocast.
    """

    guidance: float = 1.0
    guidance_channels: int | None = None
    dtype: Literal["fp32", "bf16"] = "fp32"

"""DiT against the properties of every backbone."""

from typing import ClassVar

from backbone_suite import BackboneSuite
from builders import LATENT


class TestDiT(BackboneSuite):
    backbone = "dit"
    base_takes_any_grid = False  # diffusers' own forward takes a square root of the number of tokens
    checkpoints = ("facebook/DiT-XL-2-256", "facebook/DiT-XL-2-512")
    config: ClassVar = {**LATENT, "num_embeds_ada_norm": 10}

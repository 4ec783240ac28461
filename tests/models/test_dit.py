"""DiT against the properties of every backbone."""

from typing import ClassVar

from backbone_suite import BackboneSuite


class TestDiT(BackboneSuite):
    backbone = "dit"
    base_takes_any_grid = False  # diffusers' own forward takes a square root of the number of tokens
    checkpoints = ("facebook/DiT-XL-2-256", "facebook/DiT-XL-2-512")
    config: ClassVar = {
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "num_layers": 6,
        "in_channels": 4,
        "out_channels": 8,
        "sample_size": 16,
        "patch_size": 2,
        "num_embeds_ada_norm": 10,
    }

"""Training a dense base from scratch, or from the weights of another."""

from pathlib import Path
from typing import Any

import torch
from diffusers import DiTTransformer2DModel

from flexsearch.data.settings import DataSettings
from flexsearch.diffusion.optimisation import Optimisation
from flexsearch.models.backbones.dit import new_base
from flexsearch.models.settings import BaseSettings
from flexsearch.trial.pretrain import pretrain

CONFIG: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "num_layers": 2,
    "in_channels": 1,
    "out_channels": 1,
    "sample_size": 16,
    "patch_size": 4,
    "num_embeds_ada_norm": 10,
    "norm_type": "ada_norm_zero",
    "activation_fn": "gelu-approximate",
}

FINER = {"pos_embed.proj.weight", "proj_out_2.weight", "proj_out_2.bias"}


def test_a_base_of_finer_patches_begins_at_the_blocks_of_another(tmp_path: Path) -> None:
    start = new_base(CONFIG, seed=3).state_dict()
    pretrain(
        BaseSettings(checkpoint="", config={**CONFIG, "patch_size": 2}),
        DataSettings(name="quickstart"),
        Optimisation(updates=0, batch=2),
        out=tmp_path,
        seed=0,
        device=torch.device("cpu"),
        report=lambda *_: None,
        begin_at=start,
    )
    found = DiTTransformer2DModel.from_pretrained(tmp_path / "transformer").state_dict()
    assert found["pos_embed.proj.weight"].shape == (16, 1, 2, 2)
    same = {key for key, value in found.items() if value.shape == start[key].shape and torch.equal(value, start[key])}
    assert same == {key for key in found if key not in FINER}

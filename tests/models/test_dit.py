"""DiT against the properties of every backbone."""

import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from backbone_suite import EULER, MODULES
from builders import LATENT
from diffusers import DiTTransformer2DModel
from width_suite import WidthSuite

from flexsearch.errors import UserError
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.loading import load_base
from flexsearch.models.settings import BaseSettings


class TestDiT(WidthSuite):
    backbone = "dit"
    base_takes_any_grid = False  # diffusers' own forward takes a square root of the number of tokens
    checkpoints = ("facebook/DiT-XL-2-256", "facebook/DiT-XL-2-512")
    config: ClassVar = {**LATENT, "num_embeds_ada_norm": 10}

    every_pair = True

    def test_everything_compiles(self, model: FlexDiT) -> None:
        """Of the other bases this is tested where slow tests are."""
        self.test_every_stage_compiles_without_a_graph_break(model)

    def test_reuse_of_modules_compiles(self, model: FlexDiT) -> None:
        self.test_a_step_and_its_reuse_compile_without_a_graph_break(model, MODULES)

    @pytest.mark.parametrize(("shift", "divisor"), [(None, 127), (1, 127), (0, 128)])
    def test_time_has_the_frequencies_that_the_configuration_says(
        self, base: Any, tmp_path: Path, shift: int | None, divisor: int
    ) -> None:
        """diffusers divides by 127, the original code by 128; who converts a checkpoint of it says so."""
        base.register_to_config(**({} if shift is None else {"downscale_freq_shift": shift}))
        base.save_pretrained(tmp_path / "transformer", safe_serialization=True)
        EULER.save_pretrained(tmp_path / "scheduler")
        model = load_base(BaseSettings(checkpoint=str(tmp_path))).model
        model.save_pretrained(tmp_path / "again", safe_serialization=True)
        time = torch.tensor([3.0, 700.0])
        angles = time[:, None] * torch.exp(-math.log(10000) * torch.arange(128) / divisor)
        expected = torch.cat([angles.cos(), angles.sin()], dim=1)
        for one in (model, FlexDiT.from_pretrained(tmp_path / "again")):
            for block in one.base.transformer_blocks:
                torch.testing.assert_close(block.norm1.emb.time_proj(time), expected, rtol=1e-4, atol=1e-4)

    def test_frequencies_that_were_set_by_hand_are_saved(self, base: DiTTransformer2DModel, tmp_path: Path) -> None:
        for block in base.transformer_blocks:
            block.norm1.emb.time_proj.downscale_freq_shift = 0
        model = FlexDiT.from_base(base).eval()
        model.save_pretrained(tmp_path, safe_serialization=True)
        with torch.inference_mode():
            again = FlexDiT.from_pretrained(tmp_path).eval()
            assert torch.equal(again(**self.inputs()).sample, model(**self.inputs()).sample)

    def test_other_frequencies_are_refused(self, base: DiTTransformer2DModel) -> None:
        base.register_to_config(downscale_freq_shift=2)
        with pytest.raises(UserError, match=r"^downscale_freq_shift: must be 1 .* or 0"):
            FlexDiT.from_base(base)

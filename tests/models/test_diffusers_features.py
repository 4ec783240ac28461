"""What a user of a diffusers model does to it: on a FlexDiT it has the effect that it has on the base, or is refused by
name. The table is in docs/diffusers.md."""

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from backbone_suite import SPARSE, BackboneSuite, randomised
from builders import LATENT, TEXT, VIDEO
from diffusers import (
    DiTTransformer2DModel,
    FasterCacheConfig,
    MagCacheConfig,
    PyramidAttentionBroadcastConfig,
    apply_faster_cache,
    apply_mag_cache,
    apply_pyramid_attention_broadcast,
)
from diffusers.hooks import apply_group_offloading
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0, SlicedAttnProcessor
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from flexsearch.errors import UserError
from flexsearch.models.flexdit import FlexDiT

CONFIGS = {"dit": {**LATENT, "num_embeds_ada_norm": 10}, "pixart": TEXT, "latte": VIDEO}
CPU = torch.device("cpu")


class Pair(BackboneSuite):
    """A base and its FlexDiT, all-dense, with weights of their own."""

    __test__ = False

    def __init__(self, backbone: str) -> None:
        self.backbone, self.config = backbone, CONFIGS[backbone]
        base = randomised(self.base_class(**self.config))
        if backbone == "dit":
            for block in base.transformer_blocks[1:]:
                block.norm1.emb.load_state_dict(base.transformer_blocks[0].norm1.emb.state_dict())
        self.dense = base.eval()
        self.model = FlexDiT.from_base(copy.deepcopy(base), backbone=backbone).eval()

    @property
    def of_model(self) -> Tensor:
        """What the FlexDiT gives."""
        with torch.inference_mode():
            return self.model(**self.inputs()).sample

    @property
    def of_dense(self) -> Tensor:
        """What diffusers' model gives."""
        with torch.inference_mode():
            return self.dense(**self.of_base(self.inputs())).sample

    def of_base(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Without the mask, in which every token is real, where diffusers' own forward cannot take it."""
        left_out = "encoder_attention_mask" if self.backbone == "latte" else None
        return {name: value for name, value in inputs.items() if name != left_out}


@pytest.fixture(params=CONFIGS)
def pair(request: pytest.FixtureRequest) -> Pair:
    """For every backbone."""
    return Pair(request.param)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def with_lora(model: nn.Module) -> Any:
    """Put a LoRA that is not zero on queries, values and one more layer of every block."""
    peft = pytest.importorskip("peft")
    lora = peft.LoraConfig(r=2, target_modules=["to_q", "to_v", "proj"], init_lora_weights=False)
    torch.manual_seed(5)
    return peft.inject_adapter_in_model(lora, model)


@pytest.mark.parametrize("first", ["LoRA", "fuse", "no fuse"])
def test_a_lora_works_before_and_after_fuse(pair: Pair, first: str) -> None:
    plain = pair.of_model
    if first == "fuse":
        pair.model.fuse()
    with_lora(pair.model.base)
    if first == "LoRA":
        pair.model.fuse()
    with_lora(pair.dense)
    close(pair.of_model, pair.of_dense)
    assert not torch.allclose(pair.of_model, plain, atol=1e-2)


def test_a_lora_that_is_merged_into_weights_after_fuse_works(pair: Pair) -> None:
    pair.model.fuse()
    for model in (pair.model.base, pair.dense):
        for module in with_lora(model).modules():
            if hasattr(module, "merge") and hasattr(module, "base_layer"):
                module.merge(safe_merge=True)
    close(pair.of_model, pair.of_dense)


def test_a_lora_file_of_the_base_is_loaded_into_the_base(pair: Pair, tmp_path: Path) -> None:
    """Its keys are the base's names: `model.base` has them, the FlexDiT has not."""
    peft = pytest.importorskip("peft")
    lora = peft.LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False)
    peft.get_peft_model(copy.deepcopy(pair.dense), lora).save_pretrained(tmp_path)
    expected = peft.PeftModel.from_pretrained(pair.dense, tmp_path)
    peft.PeftModel.from_pretrained(pair.model.base, tmp_path)
    assert expected.peft_config
    close(pair.of_model, pair.of_dense)


def test_weights_that_are_loaded_after_fuse_are_used(pair: Pair) -> None:
    pair.model.fuse()
    changed = randomised(copy.deepcopy(pair.model), seed=7)
    state = {name: value.clone() for name, value in changed.state_dict().items()}
    pair.model.load_state_dict(state)
    assert torch.equal(pair.of_model, changed(**pair.inputs()).sample)
    pair.model.load_state_dict({name: value * 1.1 for name, value in state.items()}, assign=True)
    assert not torch.allclose(pair.of_model, changed(**pair.inputs()).sample)


def test_the_dtype_may_change_after_fuse(pair: Pair) -> None:
    pair.model.fuse()
    pair.model.to(torch.float64)
    pair.dense.to(torch.float64)
    inputs = {k: v.double() if v.is_floating_point() else v for k, v in pair.inputs().items()}
    with torch.inference_mode():
        found = pair.model(**inputs).sample
        expected = pair.dense(**pair.of_base(inputs)).sample
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_training_after_fuse_trains_the_base(pair: Pair) -> None:
    pair.model.fuse()
    pair.model(**pair.inputs()).sample.square().mean().backward()
    weight = pair.model.base.transformer_blocks[0].attn1.to_q.weight
    assert weight.grad is not None
    before = pair.of_model
    with torch.no_grad():
        weight -= 10 * weight.grad.sign()
    assert not torch.allclose(pair.of_model, before)


def test_layerwise_casting_casts_what_the_base_casts(pair: Pair) -> None:
    pair.model.set_schedule(SPARSE)
    options = {"storage_dtype": torch.float8_e4m3fn, "compute_dtype": torch.float32}
    for model in (pair.model, pair.dense):
        model.enable_layerwise_casting(**options)
    small = {name for name, weight in pair.dense.named_parameters() if weight.dtype == torch.float8_e4m3fn}
    found = {name for name, weight in pair.model.named_parameters() if weight.dtype == torch.float8_e4m3fn}
    assert small
    assert found == {f"base.{name}" for name in small} & {name for name, _ in pair.model.named_parameters()}
    pair.model.fuse()
    pair.model.set_schedule(type(SPARSE).all_dense(6))
    close(pair.of_model, pair.of_dense)


def broadcast() -> PyramidAttentionBroadcastConfig:
    return PyramidAttentionBroadcastConfig(spatial_attention_block_skip_range=2, current_timestep_callback=lambda: 500)


def faster() -> FasterCacheConfig:
    return FasterCacheConfig(current_timestep_callback=lambda: 500, tensor_format="BCHW")


REFUSED_HOOKS: dict[str, Callable[[FlexDiT], object]] = {
    "pyramid_attention_broadcast": lambda model: apply_pyramid_attention_broadcast(model, broadcast()),
    "faster_cache": lambda model: apply_faster_cache(model.base, faster()),
    "mag_cache_leader_block_hook": lambda model: apply_mag_cache(model.base, MagCacheConfig(calibrate=True)),
    "forward": lambda model: model.base.transformer_blocks[1].register_forward_hook(lambda *_: None),
}


@pytest.mark.parametrize("hook", REFUSED_HOOKS)
def test_hooks_on_blocks_and_attentions_are_refused(pair: Pair, hook: str) -> None:
    pair.model.fuse()
    REFUSED_HOOKS[hook](pair.model)
    with pytest.raises(UserError, match=rf"^base\S*: has a hook \(.*{hook}") as refused:
        _ = pair.of_model
    assert "\n" not in str(refused.value)


def test_a_hook_that_was_removed_is_none(pair: Pair) -> None:
    expected = pair.of_model
    apply_pyramid_attention_broadcast(pair.model, broadcast())
    for module in pair.model.modules():
        if hasattr(module, "_diffusers_hook"):
            module._diffusers_hook.remove_hook("pyramid_attention_broadcast")
    assert torch.equal(pair.of_model, expected)


def test_faster_cache_on_the_whole_model_is_refused(pair: Pair) -> None:
    """It would guide, and find no attention to reuse."""
    apply_faster_cache(pair.model, faster())
    with pytest.raises(UserError, match=r"^faster_cache_denoiser: looks for blocks"):
        _ = pair.of_model


def test_mag_cache_on_the_whole_model_says_that_it_found_nothing(caplog: pytest.LogCaptureFixture) -> None:
    pair, logger = Pair("dit"), logging.getLogger("diffusers")
    logger.addHandler(caplog.handler)
    with caplog.at_level("WARNING", logger="diffusers"):
        apply_mag_cache(pair.model, MagCacheConfig(calibrate=True))
    logger.removeHandler(caplog.handler)
    assert "No transformer blocks found" in caplog.text


def test_sequential_offload_is_refused(pair: Pair) -> None:
    accelerate.cpu_offload(pair.model, execution_device=CPU)
    with pytest.raises(UserError, match=r"^base.*: (has a hook \(.*AlignDevicesHook|is shared by all)"):
        _ = pair.of_model


def test_sequential_offload_of_blocks_that_share_nothing_works() -> None:
    pair = Pair("dit")
    pair.model = FlexDiT.from_base(randomised(DiTTransformer2DModel(**pair.config)).eval())
    expected = pair.of_model
    accelerate.cpu_offload(pair.model, execution_device=CPU)
    assert torch.equal(pair.of_model, expected)


def test_offload_of_the_whole_model_works(pair: Pair) -> None:
    expected = pair.of_model
    apply_group_offloading(pair.model, onload_device=CPU, offload_type="block_level", num_blocks_per_group=1)
    assert torch.equal(pair.of_model, expected)


def test_attention_processors(pair: Pair) -> None:
    """The class that the base is built with is accepted, others are refused, on the base as on the whole model."""
    expected, attention = pair.of_model, pair.model.base.transformer_blocks[2].attn1
    attention.set_processor(AttnProcessor2_0())
    assert torch.equal(pair.of_model, expected)
    for other in (AttnProcessor(), SlicedAttnProcessor(1)):
        attention.set_processor(other)
        named = rf"^base\.transformer_blocks\.2\.attn1: has the processor {type(other).__name__}, .*: AttnProcessor2_0$"
        with pytest.raises(UserError, match=named):
            _ = pair.of_model
    with pytest.raises(UserError, match=r"^set_attn_processor: "):
        pair.model.set_attn_processor(AttnProcessor())


def test_methods_that_need_whole_blocks_are_refused(pair: Pair) -> None:
    with pytest.raises(UserError, match=r"^enable_cache: PyramidAttentionBroadcastConfig"):
        pair.model.enable_cache(broadcast())
    with pytest.raises(UserError, match=r"^compile_repeated_blocks: use compile_stages"):
        pair.model.compile_repeated_blocks()


def test_positional_arguments_are_refused(pair: Pair) -> None:
    """Bases differ in their order: PixArt's second one is the caption."""
    inputs = pair.inputs()
    noisy, timestep, *condition = inputs.values()
    with pytest.raises(UserError, match=rf"^forward: .*{list(inputs)[2]}="):
        pair.model(noisy, timestep, *condition)
    with pytest.raises(UserError, match=r"^cross_attention_kwargs: "):
        pair.model(**inputs, cross_attention_kwargs={"scale": 0.5})


def test_a_model_is_built_from_its_configuration(pair: Pair) -> None:
    pair.model.set_schedule(SPARSE)
    again = FlexDiT.from_config(pair.model.config).eval()
    assert again.schedule == SPARSE
    again.load_state_dict(pair.model.state_dict())
    inputs = pair.inputs(time=900.0)
    with torch.inference_mode():
        assert torch.equal(again(**inputs).sample, pair.model(**inputs).sample)


def test_averages_of_diffusers_are_saved(pair: Pair, tmp_path: Path) -> None:
    pair.model.set_schedule(SPARSE)
    averages = EMAModel(pair.model.parameters(), model_cls=FlexDiT, model_config=pair.model.config)
    averages.save_pretrained(tmp_path)
    again = FlexDiT.from_pretrained(tmp_path).eval()
    assert again.schedule == SPARSE
    with torch.inference_mode():
        assert torch.equal(again(**pair.inputs()).sample, pair.model(**pair.inputs()).sample)


@pytest.mark.parametrize(  # that stages of the others compile is tested by their suites
    "pair", ["dit", *(pytest.param(name, marks=pytest.mark.slow) for name in ("pixart", "latte"))], indirect=True
)
def test_one_stage_compiles_as_a_whole(pair: Pair) -> None:
    """Dynamo sees the graph that is given; which stage holds a timestep, it cannot see."""
    pair.model.set_schedule(SPARSE)
    compiled = torch.compile(pair.model, fullgraph=True, backend="eager")
    with torch.inference_mode():
        inputs, graph = pair.inputs(time=900.0), pair.model.graphs()[1]
        close(compiled(**inputs, graph=graph).sample, pair.model(**inputs, graph=graph).sample)
        torch.compiler.reset()
        with pytest.raises(Exception, match="compile_stages"):
            torch.compile(pair.model, fullgraph=True, backend="eager")(**pair.inputs())

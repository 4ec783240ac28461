"""What a user of a diffusers model does to it: on a FlexDiT it has the effect that it has on the base, or is refused by
name. The table is in docs/diffusers.md."""

import copy
import importlib
import logging
import re
from collections.abc import Callable
from contextlib import nullcontext
from inspect import signature
from pathlib import Path
from typing import Any

import accelerate
import diffusers
import pytest
import torch
from backbone_suite import SPARSE, BackboneSuite, randomised
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
from diffusers.models.attention_dispatch import attention_backend
from diffusers.models.attention_processor import AttnProcessor, SlicedAttnProcessor
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from flexsearch.errors import UserError
from flexsearch.models.architectures import architecture_named
from flexsearch.models.flexdit import FlexDiT

SUITES = {
    "dit": "TestDiT",
    "pixart": "TestPixArt",
    "latte": "TestLatte",
    "sd3": "TestSD3",
    "flux": "TestFlux",
    "qwen_image": "TestQwenImage",
    "z_image": "TestZImage",
    "sana": "TestSana",
    "wan": "TestWan",
}
"""Of every backbone, the class that says how its base is made and called."""
CPU = torch.device("cpu")


class Pair:
    """A base and its FlexDiT, all-dense, with weights of their own."""

    def __init__(self, backbone: str) -> None:
        self.backbone = backbone
        self.suite: BackboneSuite = getattr(importlib.import_module(f"test_{backbone}"), SUITES[backbone])()
        base = randomised(self.suite.base_class.from_config(self.suite.config))
        if backbone == "dit":
            for block in base.transformer_blocks[1:]:
                block.norm1.emb.load_state_dict(base.transformer_blocks[0].norm1.emb.state_dict())
        self.dense = base.eval()
        self.model = FlexDiT.from_base(copy.deepcopy(base), backbone=backbone).eval()

    @property
    def of_model(self) -> Tensor:
        """What the FlexDiT gives."""
        with torch.inference_mode():
            return self.model(**self.suite.inputs()).sample

    @property
    def of_dense(self) -> Tensor:
        """What diffusers' model gives."""
        return self.given(self.suite.inputs())

    def given(self, inputs: dict[str, Any]) -> Tensor:
        """What diffusers' model gives for these arguments, as a FlexDiT gives it."""
        with torch.inference_mode():
            return self.suite.from_base(self.dense(**self.suite.of_base(inputs)).sample, self.model)

    def block(self, number: int, model: FlexDiT | None = None) -> tuple[str, Any]:
        """Name and module of one of the base's blocks."""
        whole = self.model if model is None else model
        module = whole._parts.blocks[number].taken_apart[0]
        return next((name, one) for name, one in whole.named_modules() if one is module)

    def attention(self, number: int) -> tuple[str, Any]:
        """Name and module of the attention of one of the base's blocks."""
        of_block, block = self.block(number)
        return next((f"{of_block}.{name}", one) for name, one in block.named_modules() if hasattr(one, "processor"))


@pytest.fixture(params=SUITES)
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


def lora_file(model: Any, *, seed: int) -> dict[str, Tensor]:
    """A LoRA of queries and values as pipelines load it, by the base's names."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, Tensor] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear) and name.endswith(("to_q", "to_v")):
            for part, shape in (("lora_A", (2, layer.in_features)), ("lora_B", (layer.out_features, 2))):
                found[f"transformer.{name}.{part}.weight"] = torch.randn(shape, generator=generator)
    return found


def pipelines_of(pair: Pair) -> list[Any]:
    """diffusers' own pipeline, around the base and around its FlexDiT."""
    kind = getattr(diffusers, architecture_named(pair.backbone, field="backbone").pipeline or "")
    needed = [name for name, one in signature(kind).parameters.items() if one.default is one.empty]
    return [kind(**{**dict.fromkeys(needed), "transformer": one}) for one in (pair.dense, pair.model)]


@pytest.mark.parametrize("first", ["fuse", "no fuse"])
@pytest.mark.parametrize("pair", ["sd3", "flux", "qwen_image", "z_image", "sana", "wan"], indirect=True)
def test_the_pipelines_methods_for_loras_do_what_they_do_on_the_base(pair: Pair, first: str) -> None:
    """One after the other, each with another effect than the one before, but for loading and unmerging."""
    pytest.importorskip("peft")
    if first == "fuse":
        pair.model.fuse()
    files, before = [lora_file(pair.dense, seed=seed) for seed in (1, 2)], pair.of_model
    pipelines = pipelines_of(pair)
    for method, arguments in (
        ("load_lora_weights", {"pretrained_model_name_or_path_or_dict": files[0], "adapter_name": "one"}),
        ("load_lora_weights", {"pretrained_model_name_or_path_or_dict": files[1], "adapter_name": "two"}),
        ("set_adapters", {"adapter_names": ["one", "two"], "adapter_weights": [0.7, -0.5]}),
        ("disable_lora", {}),
        ("enable_lora", {}),
        ("delete_adapters", {"adapter_names": "one"}),
        ("set_adapters", {"adapter_names": "two", "adapter_weights": 0.3}),
        ("fuse_lora", {"lora_scale": 0.5, "components": ["transformer"]}),
        ("unfuse_lora", {"components": ["transformer"]}),
        ("unload_lora_weights", {}),
    ):
        for pipeline in pipelines:
            getattr(pipeline, method)(**arguments)
        of_dense, of_model = (pipeline.get_list_adapters() for pipeline in pipelines)
        assert of_model == of_dense
        close(pair.of_model, pair.of_dense)
        changes = method not in ("load_lora_weights", "unfuse_lora")
        assert not (changes and torch.allclose(pair.of_model, before, atol=1e-3)), method
        before = pair.of_model


def test_a_lora_of_other_sizes_is_refused() -> None:
    """Such as FLUX.1's Control LoRA, for which diffusers widens the base's embedding."""
    pytest.importorskip("peft")
    pair = Pair("flux")
    control = {"transformer.x_embedder.lora_A.weight": torch.ones(2, 32)}
    control["transformer.x_embedder.lora_B.weight"] = torch.ones(24, 2)
    with pytest.raises(UserError, match=r"^base\.x_embedder: reads 16 channels, but the LoRA is for 32"):
        pipelines_of(pair)[1].load_lora_weights(control)
    assert not hasattr(pair.model, "peft_config")


@pytest.mark.parametrize("pair", ["dit", "pixart", "latte"], indirect=True)
def test_bases_without_methods_for_adapters_say_so(pair: Pair) -> None:
    """diffusers gives these classes and their pipelines none."""
    for method in ("load_lora_adapter", "set_adapters", "fuse_lora", "unload_lora", "disable_lora", "delete_adapters"):
        assert not hasattr(pair.dense, method)
        with pytest.raises(AttributeError, match=rf"^{method}: .* has no methods for adapters; .*model\.base"):
            getattr(pair.model, method)({})


def test_weights_that_are_loaded_after_fuse_are_used(pair: Pair) -> None:
    pair.model.fuse()
    changed = randomised(copy.deepcopy(pair.model), seed=7)
    state = {name: value.clone() for name, value in changed.state_dict().items()}
    pair.model.load_state_dict(state)
    assert torch.equal(pair.of_model, changed(**pair.suite.inputs()).sample)
    pair.model.load_state_dict({name: value * 1.1 for name, value in state.items()}, assign=True)
    assert not torch.allclose(pair.of_model, changed(**pair.suite.inputs()).sample)


def test_the_dtype_may_change_after_fuse(pair: Pair) -> None:
    pair.model.fuse()
    pair.model.to(torch.float64)
    pair.dense.to(torch.float64)
    inputs = {k: v.double() if v.is_floating_point() else v for k, v in pair.suite.inputs().items()}
    with torch.inference_mode():
        found = pair.model(**inputs).sample
        expected = pair.given(inputs)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_training_after_fuse_trains_the_base(pair: Pair) -> None:
    pair.model.fuse()
    pair.model(**pair.suite.inputs()).sample.square().mean().backward()
    weight = pair.attention(0)[1].to_q.weight
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


REFUSED_HOOKS: dict[str, Callable[[Pair], object]] = {
    "pyramid_attention_broadcast": lambda pair: apply_pyramid_attention_broadcast(pair.model, broadcast()),
    "faster_cache": lambda pair: apply_faster_cache(pair.model.base, faster()),
    "mag_cache_leader_block_hook": lambda pair: apply_mag_cache(pair.model.base, MagCacheConfig(calibrate=True)),
    "forward": lambda pair: pair.block(1)[1].register_forward_hook(lambda *_: None),
}


@pytest.mark.parametrize("hook", REFUSED_HOOKS)
def test_hooks_on_blocks_and_attentions_are_refused(pair: Pair, hook: str) -> None:
    pair.model.fuse()
    if hook.startswith("mag_cache") and pair.backbone == "sana":
        with pytest.raises(ValueError, match=r"SanaTransformerBlock.* not registered"):  # diffusers itself
            REFUSED_HOOKS[hook](pair)
        return
    REFUSED_HOOKS[hook](pair)
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


def test_sequential_offload(pair: Pair) -> None:
    """accelerate hooks modules that have weights of their own: where blocks or the base are some, it is refused."""
    expected = pair.of_model
    accelerate.cpu_offload(pair.model, execution_device=CPU)
    if pair.backbone in ("sd3", "flux", "qwen_image"):
        assert torch.equal(pair.of_model, expected)
        return
    with pytest.raises(UserError, match=r"^base.*: (has a hook \(.*AlignDevicesHook|is shared by all)"):
        _ = pair.of_model


def test_sequential_offload_of_blocks_that_share_nothing_works() -> None:
    pair = Pair("dit")
    pair.model = FlexDiT.from_base(randomised(DiTTransformer2DModel(**pair.suite.config)).eval())
    expected = pair.of_model
    accelerate.cpu_offload(pair.model, execution_device=CPU)
    assert torch.equal(pair.of_model, expected)


def test_offload_of_the_whole_model_works(pair: Pair) -> None:
    expected = pair.of_model
    apply_group_offloading(pair.model, onload_device=CPU, offload_type="block_level", num_blocks_per_group=1)
    assert torch.equal(pair.of_model, expected)


def test_attention_processors(pair: Pair) -> None:
    """The class that the base is built with is accepted, others are refused, on the base as on the whole model."""
    expected, (name, attention) = pair.of_model, pair.attention(2)
    own = type(attention.processor)
    attention.set_processor(own())
    assert torch.equal(pair.of_model, expected)
    for other in (AttnProcessor(), SlicedAttnProcessor(1)):
        attention.set_processor(other)
        named = rf"^{re.escape(name)}: has the processor {type(other).__name__}, .*: {own.__name__}$"
        with pytest.raises(UserError, match=named):
            _ = pair.of_model
    with pytest.raises(UserError, match=r"^set_attn_processor: "):
        pair.model.set_attn_processor(AttnProcessor())


def test_an_attention_backend(pair: Pair) -> None:
    """Active for all or set on the model: refused where the base would compute with it, else nothing on either."""
    named, expected, of_dense = r"^base\S*: has the attention backend _native_math", pair.of_model, pair.of_dense
    asks = hasattr(pair.attention(0)[1].processor, "_attention_backend")
    with attention_backend("_native_math"):
        assert asks or torch.equal(pair.of_dense, of_dense)
        with pytest.raises(UserError, match=named) if asks else nullcontext():
            assert torch.equal(pair.of_model, expected)
    assert torch.equal(pair.of_model, expected)
    with attention_backend("native"):  # what diffusers sets for all models of a process is as before at its end
        pair.model.set_attention_backend("_native_math")
    with pytest.raises(UserError, match=named) if asks else nullcontext():
        assert torch.equal(pair.of_model, expected)
    with attention_backend("native"):
        pair.model.set_attention_backend("native")
    assert torch.equal(pair.of_model, expected)


def test_gradient_checkpointing_of_the_base(pair: Pair) -> None:
    """As on the whole model, whose suite counts the blocks that run again."""
    model, calls = pair.model.train(), 0

    def counted(function: Any, *inputs: Any) -> Any:
        nonlocal calls
        calls += 1
        return torch.utils.checkpoint.checkpoint(function, *inputs, use_reentrant=False)

    for whole, function in ((model.base, counted), (model, counted), (model, None)):
        whole.enable_gradient_checkpointing(function)
        assert model.is_gradient_checkpointing
        model(**pair.suite.inputs()).sample.square().mean().backward()
    assert calls == 2 * 6
    model.base.disable_gradient_checkpointing()
    assert not model.is_gradient_checkpointing


def in_chunks(pair: Pair) -> None:
    base, (_, block) = pair.model.base, pair.block(1)
    if hasattr(base, "enable_forward_chunking"):
        base.enable_forward_chunking(4)
    else:
        assert not hasattr(pair.dense, "enable_forward_chunking")
        block.set_chunk_feed_forward(4, 1)


def fused_by_diffusers(pair: Pair) -> None:
    pair.attention(1)[1].fuse_projections()


CHANGED_CALLS: dict[str, Callable[[Pair], object]] = {
    "is compiled, .*compile_stages": lambda pair: pair.block(1)[1].compile(backend="eager"),
    r"computes its MLP in chunks, .*: disable_forward_chunking\(\)$": in_chunks,
    r"has fused projections, .*: unfuse_qkv_projections\(\)$": fused_by_diffusers,
}


@pytest.mark.parametrize("named", CHANGED_CALLS)
def test_other_ways_to_compute_a_block_are_refused(pair: Pair, named: str) -> None:
    """Whatever the method of the base that asks for them."""
    if named.startswith("computes") and pair.backbone in ("flux", "qwen_image", "z_image", "sana", "wan"):
        with pytest.raises(AttributeError, match="set_chunk_feed_forward"):  # diffusers' blocks have none
            CHANGED_CALLS[named](pair)
        return
    CHANGED_CALLS[named](pair)
    with pytest.raises(UserError, match=rf"^base\S*: {named}"):
        _ = pair.of_model


def test_repeated_blocks_that_are_compiled_on_the_base_are_refused(pair: Pair) -> None:
    if not getattr(pair.dense, "_repeated_blocks", None):
        with pytest.raises(ValueError, match="_repeated_blocks"):  # diffusers itself
            pair.model.base.compile_repeated_blocks(backend="eager")
        return
    pair.model.base.compile_repeated_blocks(backend="eager")
    with pytest.raises(UserError, match=r"^base\S*: is compiled, .*compile_stages\(\)"):
        _ = pair.of_model


def test_methods_that_need_whole_blocks_are_refused(pair: Pair) -> None:
    with pytest.raises(UserError, match=r"^enable_cache: PyramidAttentionBroadcastConfig"):
        pair.model.enable_cache(broadcast())
    with pytest.raises(UserError, match=r"^compile_repeated_blocks: use compile_stages"):
        pair.model.compile_repeated_blocks()
    with pytest.raises(UserError, match=r"^enable_forward_chunking: "):
        pair.model.enable_forward_chunking(4)
    with pytest.raises(UserError, match=r"^fuse_qkv_projections: use fuse\(\)"):
        pair.model.fuse_qkv_projections()


def test_positional_arguments_are_refused(pair: Pair) -> None:
    """Bases differ in their order: PixArt's second one is the caption."""
    inputs = pair.suite.inputs()
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
    inputs = pair.suite.inputs(time=900.0)
    with torch.inference_mode():
        assert torch.equal(again(**inputs).sample, pair.model(**inputs).sample)


def test_averages_of_diffusers_are_saved(pair: Pair, tmp_path: Path) -> None:
    pair.model.set_schedule(SPARSE)
    averages = EMAModel(pair.model.parameters(), model_cls=FlexDiT, model_config=pair.model.config)
    averages.save_pretrained(tmp_path)
    again = FlexDiT.from_pretrained(tmp_path).eval()
    assert again.schedule == SPARSE
    with torch.inference_mode():
        assert torch.equal(again(**pair.suite.inputs()).sample, pair.model(**pair.suite.inputs()).sample)


@pytest.mark.parametrize(  # that stages of the others compile is tested by their suites
    "pair", ["dit", *(pytest.param(name, marks=pytest.mark.slow) for name in ("pixart", "latte"))], indirect=True
)
def test_one_stage_compiles_as_a_whole(pair: Pair) -> None:
    """Dynamo sees the graph that is given; which stage holds a timestep, it cannot see."""
    pair.model.set_schedule(SPARSE)
    compiled = torch.compile(pair.model, fullgraph=True, backend="eager")
    with torch.inference_mode():
        inputs, graph = pair.suite.inputs(time=900.0), pair.model.graphs()[1]
        close(compiled(**inputs, graph=graph).sample, pair.model(**inputs, graph=graph).sample)
        torch.compiler.reset()
        with pytest.raises(Exception, match="compile_stages"):
            torch.compile(pair.model, fullgraph=True, backend="eager")(**pair.suite.inputs())

"""What every backbone must do: inherit `BackboneSuite` and say how its base is made."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ModelMixin
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from flexsearch.data.conditions import random_condition
from flexsearch.diffusion.sampling import denoise, initial_noise, plan_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.errors import UserError
from flexsearch.models.architectures import architecture_named, known_config
from flexsearch.models.backbones import backbone_named
from flexsearch.models.backbones.modulation import Caption, Text
from flexsearch.models.backbones.packed import unpacked
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.roles import ROLE_MODULES, Call
from flexsearch.models.roles.role_module import Compute
from flexsearch.models.tokens import Tokens, downsample, upsample
from flexsearch.schedule.cache import Cache
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.cost import model_params, read_text_macs
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families.dense import Dense
from flexsearch.schedule.families.pooling import POOL, Pooling
from flexsearch.schedule.families.sdtm import Sdtm
from flexsearch.schedule.gain import Gain
from flexsearch.schedule.guidance import GuidanceRows
from flexsearch.schedule.plan import Plan, Target, lower, stage_graphs
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import TokenGrid, TransformerShape
from flexsearch.schedule.step import Graph, Step
from flexsearch.schedule.timetable import Timetable, equal_edges

NUM_BLOCKS = 6
SEGMENTS = (Pooling(depth=1), Sdtm(sparse=1, dense=1), Dense(depth=1))
TWO_MERGES = (Pooling(depth=1), Sdtm(merge=2, sparse=1, dense=0), Dense(depth=1))
SPARSE = DensitySchedule(segments=SEGMENTS, timetable=Timetable(edges=equal_edges(2), grids=(5, 3)))
SPAN = Cache(pattern="FFpFnp", first=1)
ENDS = Cache(pattern="FpFpnF", first=2, last=1, order=0)
MODULES = Cache(pattern="FFppFp", first=1, reuse="modules")

EULER = FlowMatchEulerDiscreteScheduler()

EARLY = {
    "attention_type": "default",
    "double_self_attention": False,
    "norm_num_groups": 32,
    "num_vector_embeds": None,
    "only_cross_attention": False,
    "upcast_attention": False,
    "use_linear_projection": False,
}
"""Arguments in the configurations of the public checkpoints that not all of today's classes have."""


def randomised(model: torch.nn.Module, *, seed: int = 1) -> Any:
    """Every weight drawn anew, so that nothing is zero or the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


def in_bf16(inputs: dict[str, Any], *names: str) -> dict[str, Any]:
    """The named tensors, or all, of numbers but times, in bfloat16."""

    def rounded(value: Any) -> Any:
        if isinstance(value, list):
            return [rounded(one) for one in value]
        return value.bfloat16() if isinstance(value, Tensor) and value.is_floating_point() else value

    return {
        name: rounded(value) if (name in names or not names) and name not in ("timestep", "t") else value
        for name, value in inputs.items()
    }


@contextmanager
def plain_attention() -> Iterator[None]:
    """No gradients, and attention by the matrix products that torch counts."""
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH):
        yield


def flops_of(run: Callable[[], Any]) -> tuple[Any, int]:
    """What a call without gradients gives, and the floating-point operations that torch counts in it."""
    with plain_attention(), FlopCounterMode(display=False) as counter:
        found = run()
    return found, counter.get_total_flops()


def check_macs_and_batches(model: FlexDiT, inputs: dict[str, Any]) -> None:
    """Check that an image alone is what it is in a batch, and that its MACs are what torch counts."""
    condition = {name: value for name, value in inputs.items() if name not in ("hidden_states", "timestep")}
    alone = {name: value[:1] for name, value in inputs.items()}
    with torch.inference_mode():
        together = model(**inputs).sample
        text = tuple(one.rows(1) for one in model.read_text(**condition))
    found, flops = flops_of(lambda: model(**alone, graph=model.graphs()[0], text=text))
    assert flops == 2 * model.graphs()[0].macs(model.shape)
    torch.testing.assert_close(found.sample, together[:1], rtol=1e-4, atol=1e-5)


def spy_on_blocks(patch: pytest.MonkeyPatch, spy: Callable[[Compute, Tokens, Call], Tokens]) -> None:
    """Has `spy` called in place of what a role computes, which is its first argument."""
    spied = {name: replace(role, compute=partial(spy, role.compute)) for name, role in ROLE_MODULES.items()}
    patch.setattr("flexsearch.models.forward_pass.ROLE_MODULES", spied)


def pooled_blocks(model: FlexDiT) -> list[int]:
    """The blocks that pool."""
    return [block for block, role in enumerate(model.schedule.roles) if role == POOL.name]


class BackboneSuite:
    """Properties of one architecture. `config` is a small base of 6 blocks, width 24, whose dense grid is 8 x 8."""

    backbone: ClassVar[str]
    config: ClassVar[dict[str, Any]]
    checkpoints: ClassVar[tuple[str, ...]]
    """Public checkpoints of the architecture."""
    text_embedder: ClassVar[str] = "caption_projection"
    base_takes_any_grid: ClassVar[bool] = True
    every_pair: ClassVar[bool] = False
    """Whether every schedule is walked with every cache; else each with one, in turn."""
    compiled: ClassVar[DensitySchedule] = SPARSE
    """What is compiled: every role."""
    schedules: ClassVar[tuple[DensitySchedule, ...]] = (
        DensitySchedule.all_dense(NUM_BLOCKS),
        DensitySchedule(segments=(Pooling(depth=2), Dense(depth=4))),
        SPARSE,
        DensitySchedule(segments=TWO_MERGES, timetable=Timetable(grids=(3,))),
    )

    @property
    def base_class(self) -> Any:
        return backbone_named(self.backbone, field="backbone").base_class

    def shape_of(self, config: dict[str, Any]) -> TransformerShape:
        return architecture_named(self.backbone, field="backbone").shape_of(config)

    def held_beside(self, base: Any) -> int:
        """Numbers that the base holds as buffers and that count as parameters."""
        positions: Tensor = base.pos_embed.pos_embed
        return positions.numel()

    def mixers(self, model: FlexDiT, block: int) -> list[Any]:
        """The attentions that a block pools by."""
        return [model.base.transformer_blocks[block].attn1]

    @pytest.fixture
    def base(self) -> ModelMixin:
        base: ModelMixin = randomised(self.base_class.from_config(self.config)).eval()
        return base

    @pytest.fixture
    def model(self, base: ModelMixin) -> FlexDiT:
        model = FlexDiT.from_base(copy.deepcopy(base), backbone=self.backbone, schedule=SPARSE)
        model.add_weights((role, block) for role in SPARSE.roles for block in range(NUM_BLOCKS))
        flexdit: FlexDiT = randomised(model).eval()
        return flexdit

    def changed_embedding(self, patch: pytest.MonkeyPatch, model: FlexDiT, factor: float) -> None:
        """Scales all tokens that enter the first block."""
        embed = model._parts.embed
        patch.setattr(model._parts, "embed", lambda sample: factor * embed(sample))

    def inputs(
        self, *, batch: int = 3, time: float = 700.0, height: int | None = None, width: int | None = None
    ) -> dict[str, Any]:
        """Arguments of the base's forward."""
        shape = self.shape_of(self.config)
        generator = torch.Generator().manual_seed(2)
        *channels, high, wide = shape.sample_size
        noisy = torch.randn(batch, *channels, height or high, width or wide, generator=generator)
        condition = random_condition(shape, batch=batch, generator=generator)
        return {"hidden_states": noisy, "timestep": torch.full((batch,), time), **condition}

    def of_base(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The same arguments as diffusers spells them."""
        return inputs

    def from_base(self, output: Any, model: FlexDiT) -> Tensor:
        """What the base gives for them, as the model gives it."""
        is_packed = output.ndim == 3
        return unpacked(output, model.shape.grid, 2) if is_packed else output

    def test_all_dense_equals_the_base_to_the_bit(self, base: ModelMixin) -> None:
        model = FlexDiT.from_base(copy.deepcopy(base), backbone=self.backbone).eval()
        with torch.inference_mode():
            for time in (0.0, 700.0):
                expected = base(**self.of_base(self.inputs(time=time))).sample
                assert torch.equal(model(**self.inputs(time=time)).sample, expected)
            if self.base_takes_any_grid:
                wide = self.inputs(height=12, width=20)
                assert torch.equal(model(**wide).sample, base(**self.of_base(wide)).sample)

    def test_weights_in_bf16_round_no_more_than_the_bases_own(self, base: ModelMixin) -> None:
        """Against fp32: a base in bf16, as diffusers runs it, and the model as a search does, under autocast."""
        model, rounded = FlexDiT.from_base(copy.deepcopy(base), backbone=self.backbone).eval(), copy.deepcopy(base)
        with torch.inference_mode():
            expected = model(**self.inputs()).sample
            model.to(torch.bfloat16)
            with torch.autocast("cpu", torch.bfloat16):
                found = model(**in_bf16(self.inputs(), "hidden_states")).sample
            output = rounded.to(torch.bfloat16)(**in_bf16(self.of_base(self.inputs()))).sample
            theirs = self.from_base(output, model)
        ours, allowed = ((one.float() - expected).norm() / expected.norm() for one in (found, theirs))
        assert 0 < ours <= 2 * allowed, (float(ours), float(allowed))

    def test_it_takes_diffusers_own_arguments(self, model: FlexDiT) -> None:
        with torch.inference_mode():
            as_pipelines_call = model(**self.of_base(self.inputs()), return_dict=False)[0]
            assert torch.equal(as_pipelines_call, model(**self.inputs()).sample)
        with pytest.raises(UserError, match="unheard_of"):
            model(**self.inputs(), unheard_of=torch.zeros(3))

    def test_pooling_equals_attention_with_uniform_weights(self, base: Any) -> None:
        """Zero queries make every attention weight equal; pooling never looks at queries and keys."""
        schedule = DensitySchedule(segments=(Pooling(depth=NUM_BLOCKS),))
        pooled = FlexDiT.from_base(copy.deepcopy(base), backbone=self.backbone, schedule=schedule).eval()
        uniform = FlexDiT.from_base(base, backbone=self.backbone).eval()
        for block in range(NUM_BLOCKS):
            for attention in self.mixers(uniform, block):
                torch.nn.init.zeros_(attention.to_q.weight)
                torch.nn.init.zeros_(attention.to_q.bias)
        with torch.inference_mode():
            expected = uniform(**self.inputs()).sample
            torch.testing.assert_close(pooled(**self.inputs()).sample, expected, rtol=1e-4, atol=1e-4)

    def test_macs_equal_torchs_flop_counter(self, model: FlexDiT) -> None:
        """Rule: one multiply-accumulate is two of torch's flops; element-wise work and pooling count nothing."""
        inputs = self.inputs(batch=1)
        text, flops = flops_of(lambda: self.read_text(model, inputs))
        assert flops == 2 * read_text_macs(model.shape)
        for schedule in self.schedules:
            model.set_schedule(schedule)
            for graph in model.graphs():
                _, flops = flops_of(lambda: model(**inputs, graph=graph, text=text))  # noqa: B023 - called at once
                assert flops == 2 * graph.macs(model.shape)
        _, flops = flops_of(lambda: model(**inputs, graph=graph))
        assert flops == 2 * (graph.macs(model.shape) + read_text_macs(model.shape)), "it reads the text itself"

    @pytest.mark.parametrize("cache", [SPAN, ENDS, MODULES], ids=["span", "ends", "modules"])
    def test_macs_of_every_step_equal_torchs_flop_counter(self, model: FlexDiT, cache: Cache) -> None:
        """Full steps that leave something, partial steps, null steps; one and two rows."""
        first = (SPAN, ENDS, MODULES).index(cache)
        for schedule in self.schedules if self.every_pair else self.schedules[first::3]:
            model.set_schedule(schedule)
            for step, left in self.walked(model, cache):
                rows = step.graph.rows
                inputs = self.inputs(batch=rows, time=1000 * step.time)
                flops = 0
                if step.letter != "n":
                    reused, text = left if step.letter == "p" else (), self.read_text(model, inputs)
                    found, flops = flops_of(lambda: model(**inputs, graph=step.graph, reused=reused, text=text))  # noqa: B023
                    left[:] = found.left or left
                assert flops == 2 * step.graph.macs(model.shape), (str(schedule), step.letter)

    @pytest.mark.parametrize(("fused", "dtype"), [(False, "fp32"), (True, "bf16")], ids=["plain", "fused, bf16"])
    def test_text_that_was_read_before_changes_no_bit(self, model: FlexDiT, fused: bool, dtype: str) -> None:
        """In every role, whatever is reused; the caption itself is then not read."""
        if fused:
            model.fuse()
        inputs = self.inputs(time=1000.0)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16) if dtype == "bf16" else nullcontext():
            text = self.read_text(model, inputs)
            without = {name: value for name, value in inputs.items() if not (text and "encoder" in name)}
            for schedule in self.schedules:
                model.set_schedule(schedule)
                for cache in (SPAN, MODULES):
                    (full, *_), (partial, *_) = self.graphs_of(model, cache, "F"), self.graphs_of(model, cache, "p")
                    expected = model(**inputs, graph=full)
                    assert torch.equal(model(**without, graph=full, text=text).sample, expected.sample)
                    arguments = {"graph": partial, "reused": expected.left}
                    again = model(**without, **arguments, text=text).sample
                    assert torch.equal(again, model(**inputs, **arguments).sample)

    @pytest.mark.parametrize(("guidance", "dtype", "cache"), [(1.0, "fp32", SPAN), (2.5, "bf16", MODULES)])
    def test_text_is_read_once_per_image_and_changes_no_bit(
        self, model: FlexDiT, guidance: float, dtype: Literal["fp32", "bf16"], cache: Cache
    ) -> None:
        """Reuse, null steps and two stages: the same images as where every model call reads its text; MACs are those
        that torch counts in the whole loop."""
        settings = SamplingSettings(guidance=guidance, dtype=dtype)
        plan = plan_of(model, EULER, Sampling(steps=6, cache=cache), settings)
        rows = 2 if guidance > 1 and not model.shape.embeds_guidance else 1
        with self.captions_projected(model) as projected:
            found, flops = flops_of(lambda: self.drawn(model, plan, settings))
        assert projected == [2 * rows] * (plan.text_rows > 0)
        assert flops == 2 * 2 * plan.macs, "of two images"
        with pytest.MonkeyPatch.context() as patch, self.captions_projected(model) as projected, plain_attention():
            patch.setattr(model, "read_text", lambda **_: ())
            expected = self.drawn(model, plan, settings)
        assert torch.equal(found, expected)
        calls = sum(step.letter != "n" for step in plan.steps)
        assert projected == [2 * rows] * (calls if plan.text_rows else 0)

    def test_a_step_on_one_row_takes_the_text_of_its_rows(self, model: FlexDiT) -> None:
        """All rows are read at once. A product of more rows may round in another way, as one of a larger batch may."""
        settings = SamplingSettings(guidance=2.5)
        for guidance, most in ((GuidanceRows(every=2), 2), (GuidanceRows(end=0.0), 1)):
            rows = 1 if model.shape.embeds_guidance else most
            plan = plan_of(model, EULER, Sampling(steps=4, guidance=guidance), settings)
            with plain_attention():
                with self.captions_projected(model) as projected:
                    found = self.drawn(model, plan, settings)
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(model, "read_text", lambda **_: ())
                    expected = self.drawn(model, plan, settings)
            assert projected == [2 * rows] * (plan.text_rows > 0)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

    def read_text(self, model: FlexDiT, inputs: dict[str, Any]) -> tuple[Text | Caption, ...]:
        """What the blocks read of the text in the arguments of a forward pass."""
        condition = {name: value for name, value in inputs.items() if name not in ("hidden_states", "timestep")}
        with torch.inference_mode():
            text = model.read_text(**condition)
        num = 1 if model._parts.rewrites_text else NUM_BLOCKS
        assert len(text) == (num if model.shape.text_tokens else 0)
        return text

    def drawn(self, model: FlexDiT, plan: Plan, settings: SamplingSettings) -> Tensor:
        """Two images, of conditions that differ from "no condition" and from each other."""
        given, none = (
            random_condition(model.shape, batch=2, generator=torch.Generator().manual_seed(seed)) for seed in (3, 4)
        )
        noise = initial_noise(range(2), shape=model.shape.sample_size, seed=0)
        return denoise(model, EULER, plan, noise=noise, condition=given, none=none, settings=settings)

    @contextmanager
    def captions_projected(self, model: FlexDiT) -> Iterator[list[int]]:
        """Collects the rows of every batch of captions that is projected."""
        rows: list[int] = []
        hooks = [
            module.register_forward_pre_hook(lambda _, arguments: rows.append(len(arguments[0])))
            for name, module in model.base.named_children()
            if name in ("caption_projection", self.text_embedder) and module is not None
        ]
        yield rows
        for hook in hooks:
            hook.remove()

    def walked(self, model: FlexDiT, cache: Cache) -> Iterator[tuple[Step, list[Tensor]]]:
        """The steps of a plan, each with what the last full step left."""
        left: list[Tensor] = []
        sampling = Sampling(steps=6, cache=cache, guidance=GuidanceRows(every=2))
        target = Target(shape=model.shape, is_guided=True)
        for step in lower(Candidate(schedule=model.schedule, sampling=sampling), target).steps:
            yield step, left

    @pytest.mark.parametrize("cache", [SPAN, ENDS, MODULES], ids=["span", "ends", "modules"])
    def test_what_is_reused_at_once_changes_nothing(self, model: FlexDiT, cache: Cache) -> None:
        """At the same data and time, a partial call equals the full one that it takes its blocks from."""
        for schedule in self.schedules:
            model.set_schedule(schedule)
            (full, *_), (partial, *_) = self.graphs_of(model, cache, "F"), self.graphs_of(model, cache, "p")
            inputs = self.inputs(time=1000.0)
            with torch.inference_mode():
                expected = model(**inputs).sample
                found = model(**inputs, graph=full)
                assert torch.equal(found.sample, expected), "what is left changes no output"
                again = model(**inputs, graph=partial, reused=found.left)
            assert again.left == ()
            torch.testing.assert_close(again.sample, expected, rtol=1e-4, atol=1e-4)

    def graphs_of(self, model: FlexDiT, cache: Cache, letter: str) -> list[Graph]:
        """The graphs of the steps of a kind, in the noisiest stage."""
        sampling = Sampling(steps=6, cache=cache)
        steps = lower(Candidate(schedule=model.schedule, sampling=sampling), Target(shape=model.shape)).steps
        return [step.graph for step in steps if step.letter == letter and step.stage == steps[0].stage]

    @pytest.mark.parametrize("cache", [SPAN, pytest.param(MODULES, marks=pytest.mark.slow)], ids=["span", "modules"])
    def test_a_step_and_its_reuse_compile_without_a_graph_break(self, model: FlexDiT, cache: Cache) -> None:
        """As a trial is timed: fused, a full step that leaves what a partial one takes."""
        model.set_schedule(self.compiled)
        (full, *_), (partial, *_) = self.graphs_of(model, cache, "F"), self.graphs_of(model, cache, "p")
        model.fuse()
        inputs = self.inputs(time=1000.0)
        inputs["text"] = self.read_text(model, inputs)
        with torch.inference_mode():
            expected = model(**inputs, graph=full)
            again = model(**inputs, graph=partial, reused=expected.left).sample
            model.compile_stages(backend="eager")
            compiled = model(**inputs, graph=full)
            for one, two in zip((compiled.sample, *compiled.left), (expected.sample, *expected.left), strict=True):
                torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
            found = model(**inputs, graph=partial, reused=expected.left).sample
        torch.testing.assert_close(found, again, rtol=1e-4, atol=1e-4)

    def test_a_gain_scales_the_stream_and_the_skip(self, model: FlexDiT) -> None:
        """A stream gain before the first block is the embedding scaled; a factor of 1 changes no bit."""
        inputs, plain = self.inputs(), model.graphs()[1]
        with torch.inference_mode():
            expected = model(**inputs, graph=plain).sample
            for gain in (Gain(stream=0.8, at=1), Gain(stream=0.8, at=2), Gain(skip=0.8)):
                assert not torch.allclose(model(**inputs, graph=replace(plain, gain=gain)).sample, expected)
            assert torch.equal(model(**inputs, graph=replace(plain, gain=Gain(at=3))).sample, expected)
            scaled = model(**inputs, graph=replace(plain, gain=Gain(stream=0.8))).sample
            with pytest.MonkeyPatch.context() as patch:
                self.changed_embedding(patch, model, 0.8)
                assert torch.equal(model(**inputs, graph=plain).sample, scaled)

    def test_parameters_are_counted(self, base: Any) -> None:
        model = FlexDiT.from_base(base, backbone=self.backbone, schedule=SPARSE)
        counted = sum(weight.numel() for weight in model.parameters()) + self.held_beside(base)
        named = dict(model.named_parameters())
        counted -= sum(named[name].numel() for name in self.unused(model))
        assert model_params(model.schedule.roles, model.shape) == counted

    def test_gradients_reach_every_weight_that_the_plan_uses(self, model: FlexDiT) -> None:
        model.drop_unused_weights()
        model.train()
        model(**self.inputs()).sample.square().mean().backward()
        unused = {name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()}
        expected = self.unused(model) | self.without_gradient(model)
        key_biases = {
            name for name in unused if name.endswith(("to_k.bias", "add_k_proj.bias"))
        }  # softmax does not see them
        assert unused - key_biases == expected - key_biases

    def unused(self, model: FlexDiT) -> set[str]:
        """Weights that the model's schedule leaves unused: queries and keys of what pools."""
        names = {module: name for name, module in model.named_modules()}
        pooled = [attention for block in pooled_blocks(model) for attention in self.mixers(model, block)]
        parts = (
            ("to_q", "to_k", *(("norm_q", "norm_k") if getattr(pooled[0], "norm_q", None) else ())) if pooled else ()
        )
        return {
            f"{names[getattr(attention, part)]}.{name}"
            for attention in pooled
            for part in parts
            for name, _ in getattr(attention, part).named_parameters()
        }

    def without_gradient(self, model: FlexDiT) -> set[str]:
        """Weights of which the base itself drops what they compute."""
        return set()

    def test_gradient_checkpointing_changes_no_gradient(self, model: FlexDiT) -> None:
        """In every stage of every schedule, each block runs once more on the way back, and gradients are the same."""
        model.train()
        for schedule in self.schedules:
            model.set_schedule(schedule)
            for graph in model.graphs():
                model.disable_gradient_checkpointing()
                plain, ran_once = self.gradients(model, graph=graph)
                model.enable_gradient_checkpointing()
                checkpointed, ran_twice = self.gradients(model, graph=graph)
                assert ran_once == list(range(NUM_BLOCKS))
                assert ran_twice == ran_once + ran_once[::-1]
                assert plain.keys() == checkpointed.keys()
                for name, gradient in plain.items():
                    assert torch.equal(gradient, checkpointed[name]), (str(schedule), graph.stage, name)

    def test_without_gradients_nothing_is_computed_again(self, model: FlexDiT) -> None:
        expected = model(**self.inputs()).sample.detach()
        model.enable_gradient_checkpointing()
        assert torch.equal(model(**self.inputs()).sample.detach(), expected)
        with torch.no_grad(), self.blocks_run() as ran:
            assert torch.equal(model(**self.inputs()).sample, expected)
        assert ran == list(range(NUM_BLOCKS))

    def gradients(self, model: FlexDiT, *, graph: Graph) -> tuple[dict[str, Tensor], list[int]]:
        """Of every weight that has one, and the blocks that ran, in their order."""
        model.zero_grad()
        with self.blocks_run() as ran:
            model(**self.inputs(), graph=graph).sample.square().mean().backward()
        return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}, ran

    @contextmanager
    def blocks_run(self) -> Iterator[list[int]]:
        """Collects the number of every block that runs."""
        ran: list[int] = []

        def spy(compute: Compute, tokens: Tokens, call: Call) -> Tokens:
            ran.append(call.operation.block)
            return compute(tokens, call)

        with pytest.MonkeyPatch.context() as patch:
            spy_on_blocks(patch, spy)
            yield ran

    def test_save_and_load_carry_the_schedule(self, model: FlexDiT, tmp_path: Path) -> None:
        model.save_pretrained(tmp_path, safe_serialization=True)
        assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
        again = FlexDiT.from_pretrained(tmp_path).eval()
        assert again.schedule == model.schedule
        with torch.inference_mode():
            for time in (100.0, 900.0):
                assert torch.equal(again(**self.inputs(time=time)).sample, model(**self.inputs(time=time)).sample)

    def test_the_configuration_of_an_early_checkpoint_survives_saving(self, tmp_path: Path) -> None:
        base = self.base_class.from_config({**self.config, **EARLY})
        model = FlexDiT.from_base(base, backbone=self.backbone, schedule=SPARSE).eval()
        model.save_pretrained(tmp_path, safe_serialization=True)
        with torch.inference_mode():
            again = FlexDiT.from_pretrained(tmp_path).eval()
            assert torch.equal(again(**self.inputs()).sample, model(**self.inputs()).sample)

    def test_grids_other_than_square_round_trip(self, model: FlexDiT) -> None:
        inputs = self.inputs(height=16, width=24)
        grid = model.grid_of(inputs["hidden_states"])
        assert (grid.height, grid.width, grid.frames) == (8, 12, model.shape.grid.frames)
        sparse = model.graphs(grid)[1].route[1].queries
        assert (sparse.height, sparse.width) == (3, 4)
        tokens = torch.randn(2, grid.num_tokens, 24)
        assert downsample(tokens, grid, sparse).shape == (2, sparse.num_tokens, 24)
        assert upsample(downsample(tokens, grid, sparse), sparse, grid).shape == tokens.shape
        assert torch.equal(upsample(tokens, grid, grid), tokens)
        larger = TokenGrid(frames=grid.frames, height=16, width=16)
        assert model.graphs(larger) == stage_graphs(model.schedule, larger)
        with torch.inference_mode():
            output = model(**inputs).sample
        assert output.shape[2:] == inputs["hidden_states"].shape[2:]
        assert output.isfinite().all()

    def test_fused_weights_change_rounding_only(self, model: FlexDiT, tmp_path: Path) -> None:
        with torch.inference_mode():
            expected = model(**self.inputs()).sample
            storages = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
            model.fuse()
            assert len({weight.untyped_storage().data_ptr() for weight in model.parameters()}) < len(storages)
            torch.testing.assert_close(model(**self.inputs()).sample, expected, rtol=1e-4, atol=1e-4)
            model.save_pretrained(tmp_path, safe_serialization=True)
            assert torch.equal(FlexDiT.from_pretrained(tmp_path).eval()(**self.inputs()).sample, expected)

    @pytest.mark.slow
    def test_every_stage_compiles_without_a_graph_break(self, model: FlexDiT) -> None:
        """`fullgraph` raises on a break; the backend is dynamo's own eager one, which changes no number."""
        graphs: list[torch.fx.GraphModule] = []

        def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Any:
            graphs.append(graph)
            return graph.forward

        times = (100.0, 900.0, 300.0)
        with torch.inference_mode():
            expected = [model(**self.inputs(time=time)).sample for time in times]
            model.compile_stages(backend=backend)
            for time, plain in zip(times, expected, strict=True):
                torch.testing.assert_close(model(**self.inputs(time=time)).sample, plain, rtol=1e-4, atol=1e-4)
        assert len(graphs) == len(model.graphs()) == 2

    def test_the_layout_of_public_checkpoints_is_accepted(self) -> None:
        """Nothing missing, nothing left over, no shape changed; and the parameters are as many as counted."""
        for checkpoint in self.checkpoints:
            config = {**(known_config(checkpoint) or {}), **EARLY}
            with torch.device("meta"):
                published = self.base_class.from_config(config)
                model = FlexDiT(backbone=self.backbone, base_config=config, tied=False)
            state = {f"base.{key}": value for key, value in published.state_dict().items()}
            assert {key: value.shape for key, value in model.state_dict().items()} == {
                key: value.shape for key, value in state.items()
            }
            model.load_state_dict(state, strict=True, assign=True)
            assert model.shape == self.shape_of(config) or self.backbone == "dit"
            counted = sum(weight.numel() for weight in published.parameters())
            counted += self.held_beside(published)
            assert model_params(model.schedule.roles, model.shape) == counted

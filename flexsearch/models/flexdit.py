"""FlexDiT: a small interpreter of plans over one base model (arXiv 2412.06028).

A schedule re-routes the base's blocks and never changes their weights. With an all-dense schedule the output equals the
base's to the bit in fp32. Letters: B batch, N dense tokens, M sparse tokens, C width, F frames (of a video), H x W
latent pixels.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from inspect import signature
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import FrozenDict, register_to_config
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import Tensor, nn

from flexsearch.errors import UserError
from flexsearch.models import operations
from flexsearch.models.backbones.dit import DiTBackbone
from flexsearch.models.backbones.latte import LatteBackbone
from flexsearch.models.backbones.modulation import Modulation, Text
from flexsearch.models.backbones.pixart import PixArtBackbone
from flexsearch.models.backbones.protocol import Backbone
from flexsearch.models.shapes import SHAPES, ShapeFunction, shape_function
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.grid import TokenGrid
from flexsearch.schedule.macs import TransformerShape
from flexsearch.schedule.plan import Operation, Plan, lower

BACKBONES: dict[str, type[Backbone]] = {
    "dit": DiTBackbone,
    "pixart": PixArtBackbone,
    "latte": LatteBackbone,
}


def register_backbone(name: str, adapter: type[Backbone], *, shape_of: ShapeFunction) -> None:
    """Makes an architecture known.

    Args:
        name: of `base.backbone`.
        adapter: called with (base, tied=...), as `DiTBackbone` is.
        shape_of: from the base's configuration to its sizes.
    """
    BACKBONES[name], SHAPES[name] = adapter, shape_of


_ISOLATED = {"isolate_recompiles": True} if "isolate_recompiles" in signature(torch.compile).parameters else {}
"""Stages share code but not graphs; older torch counts them together and stops at `recompile_limit`."""


class FlexDiT(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A diffusion transformer with a density schedule. Drops into diffusers' pipelines in place of its base.

    Args:
        backbone: name of the base's architecture, a key of `BACKBONES`.
        base_config: the base's own diffusers configuration.
        schedule: `DensitySchedule.to_dict()`; None is all-dense.
        merge_blocks: blocks that hold merge weights; None holds those that the schedule recovers at.
        tied: whether one embedder serves all blocks of a DiT; None finds out.
        base: the base model itself, which FlexDiT then owns; None builds one from `base_config`.
    """

    ignore_for_config = ["base"]  # noqa: RUF012 - diffusers reads it from the class
    _supports_gradient_checkpointing = True
    _keep_in_fp32_modules = None
    _no_split_modules = ["BasicTransformerBlock"]  # noqa: RUF012

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        backbone: str = "dit",
        base_config: Mapping[str, Any] | None = None,
        schedule: Mapping[str, Any] | None = None,
        merge_blocks: Iterable[int] | None = None,
        tied: bool | None = None,
        base: nn.Module | None = None,
    ) -> None:
        super().__init__()
        shape_function(backbone, field="backbone")
        adapter: Any = BACKBONES[backbone]
        # Early checkpoints carry arguments that today's classes no longer have: `from_config` leaves them out.
        self.base = base if base is not None else adapter.base_class.from_config(dict(base_config or {}))
        self._parts: Backbone = adapter(self.base, tied=tied)
        self.merges = nn.ModuleDict()
        self.gradient_checkpointing = False
        self._compile_options: dict[str, Any] | None = None
        self._register_state_dict_hook(_drop_copies)
        self.register_load_state_dict_pre_hook(_restore_tied_copies)
        base_options: Any = self.base.config
        self.register_to_config(base_config=_plain_config(base_options), tied=self._parts.tied)
        dense = DensitySchedule.all_dense(self.shape.num_blocks)
        self.set_schedule(dense if schedule is None else DensitySchedule.from_dict(schedule))
        self.add_merges(merge_blocks or ())

    @classmethod
    def from_base(cls, base: nn.Module, *, backbone: str = "dit", schedule: DensitySchedule | None = None) -> "FlexDiT":
        """Wraps a diffusers model. Takes ownership: `base` shares its weights with the result."""
        model: FlexDiT = cls(backbone=backbone, base=base, schedule=None if schedule is None else schedule.to_dict())
        return model

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike[str], **options: Any) -> Any:
        """Loads what `save_pretrained` wrote: its own folder, or a folder in pipeline layout that holds it as
        `transformer/`, such as `flexsearch export` makes.

        Args:
            pretrained_model_name_or_path: a folder, or the name of a model on the Hugging Face hub, which needs
                `subfolder="transformer"` where it is in pipeline layout.
            options: of diffusers' `ModelMixin.from_pretrained`.

        Returns:
            The model in eval mode; with `output_loading_info`, the model and what diffusers says of the loading.
        """
        folder = Path(pretrained_model_name_or_path)
        is_pipeline = (folder / "transformer" / "config.json").exists() and not (folder / "config.json").exists()
        if is_pipeline:
            options.setdefault("subfolder", "transformer")
        return super().from_pretrained(pretrained_model_name_or_path, **options)

    def clone(self) -> "FlexDiT":
        """An independent copy: weights, schedule and mode."""
        return copy.deepcopy(self)

    @property
    def config(self) -> FrozenDict:
        """The base's configuration (pipelines read `sample_size`, `in_channels`, ...) and FlexDiT's own."""
        return FrozenDict({**self._internal_dict.get("base_config", {}), **self._internal_dict})

    @property
    def shape(self) -> TransformerShape:
        """The base's sizes, which decide what it costs."""
        return self._parts.shape

    @property
    def schedule(self) -> DensitySchedule:
        """The schedule that routes the blocks now."""
        return self._schedule

    def set_schedule(self, schedule: DensitySchedule) -> None:
        """Re-routes the blocks. Existing weights stay as they are; new recover blocks get fresh merge weights.

        Raises:
            UserError: the schedule does not fit this model.
        """
        plan = lower(schedule, num_blocks=self.shape.num_blocks, grid=self.shape.grid)
        self._schedule = schedule
        self._plans: dict[TokenGrid, Plan] = {self.shape.grid: plan}
        self._compiled: dict[tuple[TokenGrid, int], Callable[..., Tensor]] = {}
        self.add_merges(plan.blocks("recover"))
        self.register_to_config(schedule=schedule.to_dict())

    def with_plan(self, plan: Plan) -> "FlexDiT":
        """The same weights, not copied, under another plan: for timing, also of plans that no schedule lowers to.

        Merge weights that `plan` needs are added to both models.
        """
        twin = copy.copy(self)
        twin._plans, twin._compiled = {self.shape.grid: plan}, {}
        twin.add_merges(plan.blocks("recover"))
        return twin

    def add_merges(self, blocks: Iterable[int]) -> None:
        """Adds merge weights, starting as the identity, at the blocks that have none."""
        weight = next(self.base.parameters())
        for block in blocks:
            if str(block) not in self.merges:
                self.merges[str(block)] = operations.Merge(self.shape.width).to(weight.device, weight.dtype)
        self.register_to_config(merge_blocks=sorted(int(block) for block in self.merges))

    def drop_unused_merges(self) -> None:
        """Forgets the merge weights that the schedule does not use, e.g. after a warm start over many schedules."""
        used = {str(block) for block in self.plan().blocks("recover")}
        for block in set(self.merges) - used:
            del self.merges[block]
        self.register_to_config(merge_blocks=sorted(int(block) for block in self.merges))

    def grid_of(self, sample: Tensor) -> TokenGrid:
        """The dense token grid of an input (B, C, H, W), or (B, C, F, H, W) of a video."""
        return self._parts.grid_of(sample)

    def plan(self, grid: TokenGrid | None = None) -> Plan:
        """The plan on `grid` (the model's own if None)."""
        grid = self.shape.grid if grid is None else grid
        if grid not in self._plans:
            self._plans[grid] = lower(self._schedule, num_blocks=self.shape.num_blocks, grid=grid)
        return self._plans[grid]

    def fuse(self) -> None:
        """Copies matrices that multiply one input (queries, keys and values; adaLN of all blocks) into one, for
        inference. Call it on the final device; training afterwards would train copies. Outputs change by rounding.
        Saving leaves the copies out."""
        self._parts.fuse()

    def compile_stages(self, **options: Any) -> None:
        """From now on every stage runs as one compiled graph, made when it first runs.

        Args:
            options: of `torch.compile`, e.g. `mode="max-autotune"`. Shapes are static.
        """
        self._compile_options = {"fullgraph": True, "dynamic": False, **_ISOLATED, **options}
        self._compiled.clear()

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        *,
        return_dict: bool = True,
        stage: int | None = None,
        **condition: Any,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """One forward pass, with the base's keyword arguments.

        Args:
            hidden_states: (B, in_channels, H, W) noisy data; (B, in_channels, F, H, W) of a video.
            timestep: (B,) diffusion time as the base reads it.
            return_dict: give a `Transformer2DModelOutput`, else a tuple.
            stage: stage of the timetable; None finds it from `timestep`, which waits for the device.
            condition: what the base is conditioned on: `class_labels` (B,) of a DiT; `encoder_hidden_states` (B, S, D)
                and `encoder_attention_mask` (B, S) of the others; `resolution` (B, 2) and `aspect_ratio` (B, 1), also
                inside `added_cond_kwargs`, of PixArt-alpha at 1024 px.

        Raises:
            UserError: an argument that the base does not read, or a batch that mixes timesteps of several stages.
        """
        grid = self.grid_of(hidden_states)
        plan = self.plan(grid)
        stage = self._stage_of(timestep, plan) if stage is None else stage
        run: Callable[..., Tensor] = partial(self._forward_stage, grid=grid, stage=stage)
        if self._compile_options is not None:
            if (grid, stage) not in self._compiled:
                self._compiled[grid, stage] = torch.compile(run, **self._compile_options)
            run = self._compiled[grid, stage]
        output = run(hidden_states, timestep, self._read(condition))
        return Transformer2DModelOutput(sample=output) if return_dict else (output,)

    def _read(self, condition: Mapping[str, Any]) -> dict[str, Tensor]:
        """The arguments that condition the base, without those that diffusers' pipelines leave at their defaults."""
        given = {**condition, **(condition.get("added_cond_kwargs") or {})}
        if given.pop("enable_temporal_attentions", True) is not True:
            raise UserError("must be True, but got False", field="enable_temporal_attentions")
        given = {name: value for name, value in given.items() if name != "added_cond_kwargs" and value is not None}
        unknown = sorted(set(given) - set(self._parts.reads))
        if unknown:
            raise UserError(f"a {self.config['backbone']} base reads {list(self._parts.reads)}", field=unknown[0])
        return given

    def _forward_stage(
        self, hidden_states: Tensor, timestep: Tensor, condition: Mapping[str, Tensor], *, grid: TokenGrid, stage: int
    ) -> Tensor:
        """The whole pass at one stage: what is compiled."""
        tokens = self._parts.embed(hidden_states)  # (B, N, C)
        conditioning = self._parts.conditioning(timestep, condition, tokens.dtype)
        sparse: Tensor | None = None
        for operation in self.plan(grid).stages[stage]:
            arguments = (operation, tokens, sparse, conditioning.modulations[operation.block], conditioning.text)
            if self.gradient_checkpointing and torch.is_grad_enabled():
                tokens, sparse = self._gradient_checkpointing_func(self._run, *arguments)
            else:
                tokens, sparse = self._run(*arguments)
        return self._parts.head(tokens, conditioning, grid)

    def _run(
        self,
        operation: Operation,
        tokens: Tensor,
        sparse: Tensor | None,
        modulations: tuple[Modulation, ...],
        text: Text | None,
    ) -> tuple[Tensor, Tensor | None]:
        merge = self.merges[str(operation.block)] if operation.kind == "recover" else None
        blocks = self._parts.blocks[operation.block]
        return operations.run(operation, blocks, tokens, sparse, modulations, text, merge)

    def _stage_of(self, timestep: Tensor, plan: Plan) -> int:
        if len(plan.stages) == 1:
            return 0
        low, high = (float(bound) / 1000 for bound in torch.aminmax(timestep))
        stage = plan.stage_of(low)
        if stage != plan.stage_of(high):
            raise UserError(f"a batch must lie in one stage of the timetable, but got t in [{low}, {high}]")
        return stage


def _plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if not key.startswith("_")}


def _tied_copies(model: FlexDiT) -> list[tuple[str, str]]:
    return [(f"base.{copy}", f"base.{original}") for copy, original in model._parts.tied_copies]


def _drop_copies(model: FlexDiT, state: dict[str, Tensor], prefix: str, _: Any) -> None:
    """Leaves out what `fuse` and shared embedders hold twice."""
    tied = tuple(prefix + copy for copy, _original in _tied_copies(model))
    for key in [key for key in state if key.startswith(tied) or ".to_qkv." in key or ".to_kv." in key]:
        del state[key]


def _restore_tied_copies(model: FlexDiT, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    for tied, first in _tied_copies(model):
        for key in [key for key in state if key.startswith(prefix + first)]:
            state[prefix + tied + key.removeprefix(prefix + first)] = state[key]

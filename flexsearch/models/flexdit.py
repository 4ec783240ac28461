"""FlexDiT: a small interpreter of plans over one base model (arXiv 2412.06028).

A schedule re-routes the base's blocks and never changes their weights. With an all-dense schedule the output equals the
base's to the bit in fp32. Letters: B batch, N dense tokens, M sparse tokens, C width, H x W latent pixels.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import FrozenDict, register_to_config
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import Tensor, nn

from flexsearch.errors import UserError
from flexsearch.models import operations
from flexsearch.models.backbones.dit import DiTBackbone
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.grid import TokenGrid
from flexsearch.schedule.macs import TransformerShape
from flexsearch.schedule.plan import Operation, Plan, lower

BACKBONES = {"dit": DiTBackbone}


class FlexDiT(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A diffusion transformer with a density schedule. Drops into diffusers' pipelines in place of its base.

    Args:
        backbone: name of the base's architecture, a key of `BACKBONES`.
        base_config: the base's own diffusers configuration.
        schedule: `DensitySchedule.to_dict()`; None is all-dense.
        merge_blocks: blocks that hold merge weights; None holds those that the schedule recovers at.
        tied: whether one embedder serves all blocks; None finds out.
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
        if backbone not in BACKBONES:
            raise UserError(f"must be one of {sorted(BACKBONES)}, but got {backbone!r}", field="backbone")
        adapter = BACKBONES[backbone]
        self.base = base if base is not None else adapter.base_class(**dict(base_config or {}))
        self._parts = adapter(self.base, tied=tied)
        self.merges = nn.ModuleDict()
        self.gradient_checkpointing = False
        self._register_state_dict_hook(_drop_tied_copies)
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

    def clone(self) -> "FlexDiT":
        """An independent copy: weights, schedule and mode."""
        return copy.deepcopy(self)

    @property
    def config(self) -> FrozenDict:
        """The base's configuration (pipelines read `sample_size`, `in_channels`, ...) and FlexDiT's own."""
        return FrozenDict({**self._internal_dict.get("base_config", {}), **self._internal_dict})

    @property
    def shape(self) -> TransformerShape:
        return self._parts.shape

    @property
    def schedule(self) -> DensitySchedule:
        return self._schedule

    def set_schedule(self, schedule: DensitySchedule) -> None:
        """Re-routes the blocks. Existing weights stay as they are; new recover blocks get fresh merge weights.

        Raises:
            UserError: the schedule does not fit this model.
        """
        plan = lower(schedule, num_blocks=self.shape.num_blocks, grid=self.shape.grid)
        self._schedule = schedule
        self._plans: dict[TokenGrid, Plan] = {self.shape.grid: plan}
        self.add_merges(plan.blocks("recover"))
        self.register_to_config(schedule=schedule.to_dict())

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
        """The dense token grid of an input (B, C, H, W)."""
        return self._parts.grid_of(sample)

    def plan(self, grid: TokenGrid | None = None) -> Plan:
        """The plan on `grid` (the model's own if None)."""
        grid = self.shape.grid if grid is None else grid
        if grid not in self._plans:
            self._plans[grid] = lower(self._schedule, num_blocks=self.shape.num_blocks, grid=grid)
        return self._plans[grid]

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        class_labels: Tensor,
        cross_attention_kwargs: Mapping[str, Any] | None = None,
        return_dict: bool = True,
        *,
        stage: int | None = None,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """One forward pass, with the base's signature.

        Args:
            hidden_states: (B, in_channels, H, W) noisy data.
            timestep: (B,) diffusion time as the base reads it.
            class_labels: (B,) class indices.
            cross_attention_kwargs: not supported; diffusers' pipelines pass None.
            return_dict: give a `Transformer2DModelOutput`, else a tuple.
            stage: stage of the timetable; None finds it from `timestep`, which waits for the device.

        Raises:
            UserError: the batch mixes timesteps of several stages.
        """
        if cross_attention_kwargs:
            raise UserError(f"must be empty, but got {sorted(cross_attention_kwargs)}", field="cross_attention_kwargs")
        grid = self.grid_of(hidden_states)
        plan = self.plan(grid)
        tokens = self._parts.embed(hidden_states)  # (B, N, C)
        conditioning = self._parts.conditioning(timestep, class_labels, tokens)
        sparse: Tensor | None = None
        for operation in plan.stages[self._stage_of(timestep, plan) if stage is None else stage]:
            arguments = (operation, tokens, sparse, conditioning[operation.block], grid)
            if self.gradient_checkpointing and torch.is_grad_enabled():
                tokens, sparse = self._gradient_checkpointing_func(self._run, *arguments)
            else:
                tokens, sparse = self._run(*arguments)
        output = self._parts.head(tokens, conditioning[0], grid)
        return Transformer2DModelOutput(sample=output) if return_dict else (output,)

    def _run(
        self, operation: Operation, tokens: Tensor, sparse: Tensor | None, conditioning: Tensor, grid: TokenGrid
    ) -> tuple[Tensor, Tensor | None]:
        """One operation on (dense tokens, sparse tokens). Between a merge and its recover, dense tokens are frozen."""
        block = self._parts.blocks[operation.block]
        match operation.kind:
            case "dense":
                return operations.dense(block, tokens, conditioning), None
            case "pool":
                return operations.pool(block, tokens, conditioning), None
            case "merge":
                if sparse is None:
                    sparse = operations.downsample(tokens, grid, operation.queries)
                return tokens, operations.merge(block, sparse, tokens, conditioning)
            case "sparse":
                assert sparse is not None, "a sparse block follows a merge"
                return tokens, operations.dense(block, sparse, conditioning)
            case "recover":
                assert sparse is not None, "a recover block follows a merge"
                merge: Any = self.merges[str(operation.block)]
                merged = merge(sparse, tokens, sparse_grid=operation.keys, grid=grid)
                return operations.recover(block, merged, sparse, conditioning), None

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
    """(prefix of a tied copy, prefix of the original) for every block after the first."""
    first = "base.transformer_blocks.0.norm1.emb."
    num = model.shape.num_blocks if model._parts.tied else 1
    return [(f"base.transformer_blocks.{block}.norm1.emb.", first) for block in range(1, num)]


def _drop_tied_copies(model: FlexDiT, state: dict[str, Tensor], prefix: str, _: Any) -> None:
    for tied, _first in _tied_copies(model):
        for key in [key for key in state if key.startswith(prefix + tied)]:
            del state[key]


def _restore_tied_copies(model: FlexDiT, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    originals = {
        key: value for key, value in state.items() if key.startswith(f"{prefix}base.transformer_blocks.0.norm1.emb.")
    }
    for tied, first in _tied_copies(model):
        for key, value in originals.items():
            state[prefix + tied + key.removeprefix(prefix + first)] = value

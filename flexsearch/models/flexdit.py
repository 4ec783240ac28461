"""FlexDiT: a small interpreter of routes over one base model (arXiv 2412.06028).

A schedule re-routes the base's blocks and never changes their weights. With an all-dense schedule the output equals the
base's to the bit in fp32 (a Latte's but for rounding). Letters: B batch, N dense tokens, M sparse tokens, C width,
F frames (of a video), H x W latent pixels.
"""

import copy
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from flexsearch.errors import UserError
from flexsearch.models.backbones import backbone_named
from flexsearch.models.backbones.backbone import Backbone
from flexsearch.models.backbones.modulation import Caption, Text
from flexsearch.models.blocks import Blocks
from flexsearch.models.compiled import CompiledGraphs
from flexsearch.models.data_gaussian import DATA_TENSORS, DataGaussian
from flexsearch.models.diffusers_model import DiffusersModel, FlexDiTOutput, conditions_of
from flexsearch.models.forward_pass import run_graph
from flexsearch.models.offload import offload_layers
from flexsearch.models.role_weights import add_role_weights, collection_of, keep_role_weights
from flexsearch.models.roles import ROLE_MODULES
from flexsearch.models.saving import register_state_hooks
from flexsearch.models.stages import StageGraphs
from flexsearch.models.width import WidthOrder, order_by_weights
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.role import check_roles
from flexsearch.schedule.shape import TokenGrid, TransformerShape
from flexsearch.schedule.step import Graph
from flexsearch.schedule.width import check_width, is_narrow


class FlexDiT(DiffusersModel, ModelMixin):  # type: ignore[misc]
    """A diffusion transformer with a density schedule. Drops into diffusers' pipelines in place of its base.

    Args:
        backbone: name of the base's architecture.
        base_config: the base's own diffusers configuration.
        schedule: `DensitySchedule.to_dict()`; None is all-dense.
        extra_blocks: per role that adds weights, the blocks that hold them; those that the schedule uses always do.
        merge_blocks: the same of the role whose weights are `merges`, in folders of earlier versions.
        num_train_timesteps: of the base's own clock, which shows this number times the diffusion time.
        has_data_means: whether means of the data are among the weights.
        num_data_directions: of their covariance.
        has_width_order: whether the order of heads and hidden channels is among the weights.
        tied: whether one embedder serves all blocks of a DiT; None finds out.
        base: the base model itself, which FlexDiT then owns; None builds one from `base_config`.
    """

    # ModelMixin once more: pipelines load a class by what they find under this name in its module.
    ignore_for_config = ["base"]  # noqa: RUF012 - diffusers reads it from the class

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        backbone: str = "dit",
        base_config: Mapping[str, Any] | None = None,
        schedule: Mapping[str, Any] | None = None,
        extra_blocks: Mapping[str, Iterable[int]] | None = None,
        merge_blocks: Iterable[int] | None = None,
        tied: bool | None = None,
        num_train_timesteps: int = 1000,
        has_data_means: bool = False,
        num_data_directions: int = 0,
        has_width_order: bool = False,
        base: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self._runs_on: torch.device | None = None
        adapter: Any = backbone_named(backbone, field="backbone")
        # Early checkpoints carry arguments that today's classes no longer have: `from_config` leaves them out.
        self.base = base if base is not None else adapter.base_class.from_config(dict(base_config or {}))
        self._parts: Backbone = adapter(self.base, tied=tied)
        if not hasattr(self.base, "gradient_checkpointing"):  # else the base's is what is set
            self.gradient_checkpointing = False
        for name in DATA_TENSORS:
            self.register_buffer(name, None)
        self.width_order: WidthOrder | None = None
        self._read = partial(conditions_of, reads=self._parts.reads, backbone=backbone)
        self._compiled = CompiledGraphs()
        self._blocks = Blocks(self, self._parts)
        register_state_hooks(self)
        base_options: Any = self.base.config
        self.register_to_config(
            base_config={name: value for name, value in base_options.items() if not name.startswith("_")},
            tied=self._parts.tied,
            _use_default_values=[],  # diffusers would build a copy without what is registered here and below
        )
        if has_width_order:
            self.add_width_order()
        dense = DensitySchedule.all_dense(self.shape.num_blocks)
        self.set_schedule(dense if schedule is None else DensitySchedule.from_dict(schedule))
        self.add_weights((role, block) for role, blocks in (extra_blocks or {}).items() for block in blocks)
        of_merges = [role for role, module in ROLE_MODULES.items() if module.collection == "merges"]
        self.add_weights((role, block) for role in of_merges for block in merge_blocks or ())
        if has_data_means:
            self.set_data_gaussian(DataGaussian.zeros(self.shape, num_directions=num_data_directions))

    @classmethod
    def from_base(
        cls,
        base: nn.Module,
        *,
        backbone: str = "dit",
        schedule: DensitySchedule | None = None,
        num_train_timesteps: int = 1000,
    ) -> "FlexDiT":
        """Wrap a diffusers model. Takes ownership: `base` shares its weights with the result."""
        model: FlexDiT = cls(
            backbone=backbone,
            base=base,
            schedule=None if schedule is None else schedule.to_dict(),
            num_train_timesteps=num_train_timesteps,
        )
        return model

    def extra_repr(self) -> str:
        """Show the schedule in front of the modules."""
        return f"schedule: {self.schedule}"

    def clone(self) -> "FlexDiT":
        """An independent copy: weights, schedule and mode."""
        return copy.deepcopy(self)

    @property
    def device(self) -> torch.device:
        """The device that it runs on; weights of layers that are offloaded rest elsewhere."""
        own: torch.device = super().device
        return self._runs_on or own

    @property
    def is_offloaded(self) -> bool:
        """Whether layers fetch their weights when they are called."""
        return self._runs_on is not None

    def offload_layers(self, device: torch.device | str) -> None:
        """Run on a device from now on, with the weights of layers in the CPU's memory but for the call of each.

        For inference without `fuse`. Arguments as of `flexsearch.models.offload.offload_layers`.
        """
        offload_layers(self, device)
        self._runs_on = torch.device(device)

    def view(self) -> "FlexDiT":
        """A copy that can be re-routed and get weights for roles, on the very tensors of this model, which it must not
        train: a second copy of a large base does not fit on many a device."""
        tensors = (*self.parameters(), *self.buffers())
        return copy.deepcopy(self, {id(one): one for one in tensors})

    @property
    def shape(self) -> TransformerShape:
        """The base's sizes, which decide what it costs."""
        return self._parts.shape

    @property
    def schedule(self) -> DensitySchedule:
        """The schedule that routes the blocks now."""
        return self._schedule

    def set_schedule(self, schedule: DensitySchedule) -> None:
        """Re-route the blocks. Existing weights stay as they are; a role that needs weights gets fresh ones.

        Raises:
            UserError: the schedule does not fit this model.
        """
        routes = schedule.routes(self.shape.grid, num_blocks=self.shape.num_blocks)
        amounts = {one for stage in schedule.amounts for one in stage}
        check_width(amounts, self.shape)
        check_roles(schedule.roles, self.shape)
        self._schedule = schedule
        num_train_timesteps = self.config["num_train_timesteps"]
        self._stages = StageGraphs(schedule, num_blocks=self.shape.num_blocks, num_train_timesteps=num_train_timesteps)
        self._compiled.clear()
        self.add_weights((operation.role, operation.block) for route in routes for operation in route)
        if any(map(is_narrow, amounts)):
            self.add_width_order()
        self.register_to_config(schedule=schedule.to_dict())

    def add_weights(self, role_blocks: Iterable[tuple[str, int]]) -> None:
        """Add the weights that roles bring to blocks, as they start, where there are none yet.

        Args:
            role_blocks: (role, block); roles that bring no weights are passed over.
        """
        add_role_weights(self, role_blocks)

    def add_width_order(self) -> None:
        """Make the order of heads and hidden channels from the weights as they are now, unless there is one already.

        A warm start and its trials share the base's, so it is made before anything is trained.
        """
        if self.width_order is None:
            self.width_order = order_by_weights(self._parts.blocks)
            self.register_to_config(has_width_order=True)

    @property
    def data_gaussian(self) -> DataGaussian | None:
        """Mean and covariance of the base's data, where they are known."""
        return None if self.data_means is None else DataGaussian.from_tensors(dict(self.named_buffers(recurse=False)))

    def set_data_gaussian(self, data: DataGaussian) -> None:
        """Keep mean and covariance of the base's data beside its weights."""
        assert data.means.shape == (self.shape.num_classes + 1, *self.shape.sample_size)
        weight = next(self.base.parameters())
        for name, value in data.tensors.items():
            setattr(self, name, value.to(self.device, weight.dtype))
        self.register_to_config(has_data_means=True, num_data_directions=len(data.directions))

    def drop_unused_weights(self) -> None:
        """Forget the weights of roles that the schedule does not use, e.g. after a warm start over many schedules."""
        keep_role_weights(self, {(operation.role, operation.block) for one in self.graphs() for operation in one.route})

    def grid_of(self, sample: Tensor, **condition: Any) -> TokenGrid:
        """The dense token grid of an input as `forward` takes it."""
        return self._parts.grid_of(sample, condition)

    def graphs(self, grid: TokenGrid | None = None) -> tuple[Graph, ...]:
        """Give what one model call computes in every stage, on `grid` (the model's own if None)."""
        return self._stages.on(self.shape.grid if grid is None else grid)

    def fuse(self) -> None:
        """Join matrices that multiply one input (queries, keys and values; adaLN of all blocks) into one, for
        inference. The base's weights become its rows: what changes them, changes it. Outputs change by rounding.
        """
        self._blocks.fuse()

    def compile_stages(self, **options: Any) -> None:
        """Compile every graph from now on, when it first runs.

        Args:
            options: of `torch.compile`, e.g. `mode="max-autotune"`. Shapes are static.
        """
        self._compiled.compile(options)

    def compiled_stages(self) -> AbstractContextManager[None]:
        """Compile every graph that runs within, by the options of `compile_stages` if that was called; outside, nothing
        is changed. What was compiled is kept for the next time."""
        return self._compiled.within()

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        *others: Any,
        return_dict: bool = True,
        graph: Graph | None = None,
        reused: tuple[Tensor, ...] = (),
        text: tuple[Text | Caption, ...] = (),
        **condition: Any,
    ) -> "FlexDiTOutput | tuple[Tensor, ...]":
        """Run one forward pass, with the base's keyword arguments. Nothing of it stays in the model.

        Args:
            hidden_states: (B, in_channels, H, W) noisy data; (B, in_channels, F, H, W) of a video.
            timestep: (B,) diffusion time on the scheduler's clock, from 0 at the data.
            others: refused; bases differ in the order of theirs.
            return_dict: give a `FlexDiTOutput`, else a tuple.
            graph: what to compute, of a plan's step; None finds the stage of the model's own schedule from `timestep`,
                which waits for the device.
            reused: what takes the place of the graph's span, as an earlier call left it: one residual (B, N, C), or
                the outputs of the span's modules in their order.
            text: what `read_text` gave for these rows, in place of a caption, which is then not read; () computes it
                from the caption in this call, which changes no bit.
            condition: what the base is conditioned on: `class_labels` (B,) of a DiT; `encoder_hidden_states` (B, S, D)
                of the others, with `encoder_attention_mask` (B, S) where padding is told from tokens,
                `pooled_projections` (B, P) of SD3 and FLUX.1, and `guidance` (B,) of FLUX.1-dev; `resolution` (B, 2)
                and `aspect_ratio` (B, 1), also inside `added_cond_kwargs`, of PixArt-alpha at 1024 px. Packed latents
                (B, N, 4 in_channels), and timesteps over 1000, are taken as diffusers' pipelines give them:
                with `img_ids` and `txt_ids` (FLUX.1) or `img_shapes` (Qwen-Image).

        Returns:
            The output, and what the graph leaves for later calls.

        Raises:
            UserError: an argument that the base does not read, or a batch that mixes timesteps of several stages; or
                something hangs on a module of the base that is never called.
        """
        if others:
            raise UserError(
                f"takes hidden_states and timestep by position, but got {2 + len(others)} arguments; give "
                f"{', '.join(f'{name}=' for name in self._parts.reads)}",
                field="forward",
            )
        read, parts = self._read(condition), self._parts
        grid = parts.grid_of(hidden_states, read)
        if graph is None:
            graph = self._stages.at(parts.timestep_of(hidden_states, timestep), grid)
        self._blocks.prepare(self, graph.route)
        run = self._compiled.of(partial(self._run_graph, grid=grid, graph=graph), grid, graph)
        output, left = run(hidden_states, timestep, reused, text, read)
        if not return_dict:
            return (output, *left)
        return FlexDiTOutput(sample=output, left=left)

    def read_text(self, **condition: Any) -> tuple[Text | Caption, ...]:
        """Compute what the blocks read of a caption as far as it depends on neither time nor data, once for all calls
        with it.

        Args:
            condition: as of `forward`.

        Returns:
            One `Text` per block; one `Caption` of a base whose blocks rewrite text; () of a base that reads no text.
        """
        self._blocks.prepare(self)
        caption = self._parts.caption(self._read(condition), self.dtype)
        if caption is None:
            return ()
        if self._parts.rewrites_text:
            return (caption,)
        return tuple(block.text_of(caption) for block in self._parts.blocks)

    def _run_graph(self, *inputs: Any, grid: TokenGrid, graph: Graph) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The whole pass, and what it leaves: what is compiled."""
        set_on: Any = self.base if hasattr(self.base, "gradient_checkpointing") else self
        runs_twice = set_on.gradient_checkpointing and torch.is_grad_enabled()
        checkpoint: Any = set_on._gradient_checkpointing_func if runs_twice else None
        return run_graph(
            self._parts,
            *inputs,
            grid=grid,
            graph=graph,
            block_of=self._blocks.of,
            weights_of=partial(collection_of, self),
            checkpoint=checkpoint,
        )

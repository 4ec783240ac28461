"""FlexDiT: a small interpreter of routes over one base model (arXiv 2412.06028).

A schedule re-routes the base's blocks and never changes their weights. With an all-dense schedule the output equals the
base's to the bit in fp32 (a Latte's but for rounding). Letters: B batch, N dense tokens, M sparse tokens, C width,
F frames (of a video), H x W latent pixels.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
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
from flexsearch.models.backbones import backbone_named
from flexsearch.models.backbones.backbone import Backbone, Opened
from flexsearch.models.backbones.call import COMPUTED, Call, Keeping, Module, Places, Taking
from flexsearch.models.backbones.fused import FusedLinears
from flexsearch.models.backbones.hooks import check_not_hooked, check_offloaded_once
from flexsearch.models.backbones.modulation import Caption, Text
from flexsearch.models.data_gaussian import DATA_TENSORS, DataGaussian
from flexsearch.models.roles import ROLE_MODULES
from flexsearch.models.tokens import Tokens, downsample
from flexsearch.models.width import WidthOrder, order_by_weights
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.gain import Gain
from flexsearch.schedule.plan import stage_graphs
from flexsearch.schedule.role import Amounts, Operation, Route
from flexsearch.schedule.shape import TokenGrid, TransformerShape
from flexsearch.schedule.step import Graph
from flexsearch.schedule.timetable import CLOCK_ERROR
from flexsearch.schedule.width import check_width, is_narrow

_ISOLATED = {"isolate_recompiles": True} if "isolate_recompiles" in signature(torch.compile).parameters else {}
"""Graphs share code; older torch counts their compilations together and stops at `recompile_limit`."""
_COMPILE_OPTIONS: dict[str, Any] = {"fullgraph": True, "dynamic": False, **_ISOLATED}


@dataclass
class FlexDiTOutput(Transformer2DModelOutput):  # type: ignore[misc]
    """The output of a model call.

    Attributes:
        sample: (B, out_channels, H, W), or (B, out_channels, F, H, W) of a video.
        left: what later calls may reuse: one residual (B, N, C), or the outputs of a span's modules in their order;
            empty where the graph leaves nothing.
    """

    sample: Any
    left: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        """Take a mapping of both as well: accelerate moves outputs between devices that way."""
        given: Any = self.sample
        if isinstance(given, Mapping):
            self.left, self.sample = tuple(given.get("left", ())), given["sample"]
        super().__post_init__()


class FlexDiT(ModelMixin, ConfigMixin):  # type: ignore[misc]
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
        adapter: Any = backbone_named(backbone, field="backbone")
        # Early checkpoints carry arguments that today's classes no longer have: `from_config` leaves them out.
        self.base = base if base is not None else adapter.base_class.from_config(dict(base_config or {}))
        self._parts: Backbone = adapter(self.base, tied=tied)
        self.gradient_checkpointing = False
        for name in DATA_TENSORS:
            self.register_buffer(name, None)
        self._compile_options: dict[str, Any] | None = None
        self._fused: list[FusedLinears] = []
        self.width_order: WidthOrder | None = None
        self._narrowed: dict[tuple[int, Amounts], Any] = {}
        names = {module: name for name, module in self.named_modules()}
        taken_apart = (self.base, *(module for block in self._parts.blocks for module in block.taken_apart))
        self._taken_apart = [(names[module], module) for module in taken_apart]
        originals = tuple(original for _, original in _tied_copies(self))
        self._shared = [(name, module) for module, name in names.items() if name.startswith(originals)]
        self._register_state_dict_hook(_drop_copies)
        self.register_load_state_dict_pre_hook(_restore_tied_copies)
        self.register_load_state_dict_pre_hook(_keep_data_gaussian)
        self.register_load_state_dict_pre_hook(_keep_width_order)
        base_options: Any = self.base.config
        self.register_to_config(
            base_config=_plain_config(base_options),
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

    @classmethod
    def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **options: Any) -> Any:
        """Build the model that `model.config` describes, with fresh weights.

        Args:
            config: of a FlexDiT. It shows the base's fields, too, which lie in `base_config` once more.
            return_unused_kwargs: as diffusers' method.
            options: as diffusers' method.
        """
        own = {*signature(cls.__init__).parameters, "_class_name", "_diffusers_version", "_name_or_path"}
        if isinstance(config, Mapping):
            config = {name: value for name, value in config.items() if name in own}
        return super().from_config(config, return_unused_kwargs, **options)

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

    def extra_repr(self) -> str:
        """Show the schedule in front of the modules."""
        return f"schedule: {self.schedule}"

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
        """Re-route the blocks. Existing weights stay as they are; a role that needs weights gets fresh ones.

        Raises:
            UserError: the schedule does not fit this model.
        """
        routes = schedule.routes(self.shape.grid, num_blocks=self.shape.num_blocks)
        amounts = {one for stage in schedule.amounts for one in stage}
        check_width(amounts, self.shape)
        self._schedule = schedule
        self._graphs: dict[TokenGrid, tuple[Graph, ...]] = {}
        self._compiled: dict[tuple[TokenGrid, Graph], Callable[..., tuple[Tensor, tuple[Tensor, ...]]]] = {}
        self.add_weights((operation.role, operation.block) for route in routes for operation in route)
        if any(map(is_narrow, amounts)):
            self.add_width_order()
        self.register_to_config(schedule=schedule.to_dict())

    def add_weights(self, role_blocks: Iterable[tuple[str, int]]) -> None:
        """Add the weights that roles bring to blocks, as they start, where there are none yet.

        Args:
            role_blocks: (role, block); roles that bring no weights are passed over.
        """
        weight = next(self.base.parameters())
        for role, block in role_blocks:
            module = ROLE_MODULES[role]
            if module.weights is not None and str(block) not in self._extras(role):
                self._extras(role)[str(block)] = module.weights(self.shape).to(weight.device, weight.dtype)
        self._note_extras()

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
            setattr(self, name, value.to(weight.device, weight.dtype))
        self.register_to_config(has_data_means=True, num_data_directions=len(data.directions))

    def drop_unused_weights(self) -> None:
        """Forget the weights of roles that the schedule does not use, e.g. after a warm start over many schedules."""
        used = {(operation.role, str(operation.block)) for graph in self.graphs() for operation in graph.route}
        for role, module in ROLE_MODULES.items():
            if module.weights is not None:
                for block in [block for block in self._extras(role) if (role, block) not in used]:
                    del self._extras(role)[block]
        self._note_extras()

    def _extras(self, role: str) -> nn.ModuleDict:
        """The weights that a role brings, by block; a role may have become known after the model was made."""
        collection = ROLE_MODULES[role].collection
        if collection not in self._modules:
            self.add_module(collection, nn.ModuleDict())
        extras: nn.ModuleDict = getattr(self, collection)
        return extras

    def _note_extras(self) -> None:
        with_weights = [role for role, module in ROLE_MODULES.items() if module.weights is not None]
        held = {role: sorted(int(block) for block in self._extras(role)) for role in with_weights}
        self.register_to_config(extra_blocks={role: blocks for role, blocks in held.items() if blocks})

    def grid_of(self, sample: Tensor, **condition: Any) -> TokenGrid:
        """The dense token grid of an input as `forward` takes it."""
        return self._parts.grid_of(sample, condition)

    def graphs(self, grid: TokenGrid | None = None) -> tuple[Graph, ...]:
        """Give what one model call computes in every stage, on `grid` (the model's own if None)."""
        grid = self.shape.grid if grid is None else grid
        if grid not in self._graphs:
            self._graphs[grid] = stage_graphs(self._schedule, grid, num_blocks=self.shape.num_blocks)
        return self._graphs[grid]

    def fuse(self) -> None:
        """Join matrices that multiply one input (queries, keys and values; adaLN of all blocks) into one, for
        inference. The base's weights become its rows: what changes them, changes it. Outputs change by rounding.

        Where blocks are narrow, copies of the heads and hidden channels that they keep are made once, and anew where
        weights change.
        """
        self._fused = self._parts.fuse()
        self._narrowed.clear()

    def enable_layerwise_casting(self, *arguments: Any, **options: Any) -> None:
        """Store the base's weights in a smaller type, such as fp8, where the base itself does, and cast them when they
        are used; arguments are those of diffusers' method. Weights that roles add stay as they are."""
        base: Any = self.base
        base.enable_layerwise_casting(*arguments, **options)

    def set_attn_processor(self, processor: Any) -> None:
        """Refuses: attention is computed here.

        Raises:
            UserError: always.
        """
        raise UserError(
            "FlexDiT computes attention itself, by scaled_dot_product_attention", field="set_attn_processor"
        )

    def enable_cache(self, config: Any) -> None:
        """Refuses: reuse over steps is found by a search.

        Raises:
            UserError: always.
        """
        raise UserError(
            f"{type(config).__name__} hangs on blocks, which FlexDiT takes apart; reuse over steps is `cache` of a "
            "search space, and FlexDiTPipeline draws with it",
            field="enable_cache",
        )

    def cache_context(self, *_: Any, **__: Any) -> AbstractContextManager[None]:
        """Open what diffusers' pipelines open around every call, for caches, of which there are none here."""
        return nullcontext()

    def compile_repeated_blocks(self, *arguments: Any, **options: Any) -> None:
        """Refuses: blocks play other roles in other stages.

        Raises:
            UserError: always.
        """
        raise UserError("use compile_stages(), which compiles one graph per stage", field="compile_repeated_blocks")

    def compile_stages(self, **options: Any) -> None:
        """Compile every graph from now on, when it first runs.

        Args:
            options: of `torch.compile`, e.g. `mode="max-autotune"`. Shapes are static.
        """
        self._compile_options = {**_COMPILE_OPTIONS, **options}
        self._compiled.clear()

    @contextmanager
    def compiled_stages(self) -> Iterator[None]:
        """Compile every graph that runs within, by the options of `compile_stages` if that was called; outside, nothing
        is changed. What was compiled is kept for the next time."""
        before = self._compile_options
        if before is None:
            self._compile_options = _COMPILE_OPTIONS
        try:
            yield
        finally:
            self._compile_options = before

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles take: compiled graphs hold this model's weights, not the copy's."""
        return {**self.__dict__, "_compiled": {}}

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
        read = self._read(condition)
        grid = self._parts.grid_of(hidden_states, read)
        graph = self._graph_at(self._parts.timestep_of(hidden_states, timestep), grid) if graph is None else graph
        self._prepare(graph.route)
        run: Callable[..., tuple[Tensor, tuple[Tensor, ...]]] = partial(self._run_graph, grid=grid, graph=graph)
        if self._compile_options is not None:
            key = (grid, replace(graph, order=0))  # what is reused is extrapolated outside
            if key not in self._compiled:
                self._compiled[key] = torch.compile(run, **self._compile_options)
            run = self._compiled[key]
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
        self._prepare()
        caption = self._parts.caption(self._read(condition), self.dtype)
        if caption is None:
            return ()
        if self._parts.rewrites_text:
            return (caption,)
        return tuple(block.text_of(caption) for block in self._parts.blocks)

    def _prepare(self, route: Route = ()) -> None:
        """Refuse what would be ignored, and join weights anew that were replaced. Compilers see neither."""
        narrow = {(one.block, one.amounts) for one in route if is_narrow(one.amounts)}
        for key in narrow - self._narrowed.keys():
            self._narrowed[key] = self._narrow(*key)
        if not torch.compiler.is_compiling():
            check_not_hooked(self, self._taken_apart)
            check_offloaded_once(self._shared)
            for fused in self._fused:
                fused.join()
            copies = bool(self._fused) and not torch.is_grad_enabled()
            for key in narrow:
                for part in self._narrowed[key].parts:
                    part.prepare(copies=copies)

    def _narrow(self, block: int, amounts: Amounts) -> Any:
        """A block, as much of it as amounts say."""
        check_width([amounts], self.shape)
        self.add_width_order()
        order: Any = self.width_order
        return order.narrowed(self._parts.blocks[block], place=block, amounts=amounts, shape=self.shape)

    def _read(self, condition: Mapping[str, Any]) -> dict[str, Tensor]:
        """The arguments that condition the base, without those that diffusers' pipelines leave at their defaults."""
        given = {**condition, **(condition.get("added_cond_kwargs") or {})}
        if given.pop("enable_temporal_attentions", True) is not True:
            raise UserError("must be True, but got False", field="enable_temporal_attentions")
        given = {name: value for name, value in given.items() if name != "added_cond_kwargs" and value is not None}
        given = {name: value for name, value in given.items() if not isinstance(value, Mapping) or value}
        unknown = sorted(set(given) - set(self._parts.reads))
        if unknown:
            raise UserError(f"a {self.config['backbone']} base reads {list(self._parts.reads)}", field=unknown[0])
        return given

    def _run_graph(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        reused: tuple[Tensor, ...],
        text: tuple[Text | Caption, ...],
        condition: Mapping[str, Any],
        *,
        grid: TokenGrid,
        graph: Graph,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The whole pass, and what it leaves: what is compiled."""
        parts, blocks = self._parts, [operation.block for operation in graph.route]
        texts: Sequence[Text | Caption | None] = text or (parts.caption(condition, hidden_states.dtype),)
        caption = texts[0] if parts.rewrites_text and isinstance(texts[0], Caption) else None
        opened = parts.open(hidden_states, timestep, condition, caption, blocks)
        if opened.text is not None:
            texts = (opened.text,)
        tokens = Tokens(opened.tokens, None, None if opened.text is None else opened.text.tokens)
        run_all = partial(
            self._run_all,
            opened=opened,
            texts=texts if len(texts) > 1 else (*texts,) * self.shape.num_blocks,
            places=self._places(graph.route, opened, grid),
            gain=graph.gain,
        )
        below, inside, above = graph.parts
        tokens = run_all(below, tokens)
        entered = tokens
        left: tuple[Tensor, ...] = ()
        if graph.reuses == "residual":
            tokens = entered.moved_by(reused)
        elif graph.reuses == "modules":
            tokens = run_all(inside, tokens, module=Taking(reused))
        elif graph.leaves == "modules":
            keeping = Keeping()
            tokens = run_all(inside, tokens, module=keeping)
            left = tuple(keeping.outputs)
        else:
            tokens = run_all(inside, tokens)
            left = tokens.moved_from(entered) if graph.leaves == "residual" else ()
        tokens = run_all(above, tokens)
        return parts.head(tokens.dense, opened.conditioning, grid), left

    def _places(self, route: Route, opened: Opened, grid: TokenGrid) -> dict[TokenGrid | None, Places]:
        """Where the tokens of every density lie that the route has; None is the mean of all."""
        grids = {grid: None, **{one: None for operation in route for one in (operation.queries, operation.keys)}}
        weights: dict[TokenGrid | None, float] = {one: grid.num_tokens / one.num_tokens for one in grids}
        weights[None] = float(grid.num_tokens)
        one_token = TokenGrid(height=1, width=1)
        if opened.places is None:
            return {one: Places(one or one_token, None, weight) for one, weight in weights.items()}
        found: dict[TokenGrid | None, Places] = {}
        for one, weight in weights.items():
            if one is None:
                places = opened.places.mean(dim=1, keepdim=True)
            else:
                places = opened.places if one == grid else downsample(opened.places, grid, one)
            found[one] = Places(one or one_token, self._parts.rotary(places), weight)
        return found

    def _run_all(
        self,
        route: Route,
        tokens: Tokens,
        *,
        opened: Opened,
        texts: Sequence[Text | Caption | None],
        places: Mapping[TokenGrid | None, Places],
        gain: Gain,
        module: Module = COMPUTED,
    ) -> Tokens:
        for operation in route:
            if gain.stream != 1 and operation.block == gain.at:
                tokens = tokens.scaled(gain.stream)
            role = ROLE_MODULES[operation.role]
            call = Call(
                block=self._narrowed[operation.block, operation.amounts]
                if is_narrow(operation.amounts)
                else self._parts.blocks[operation.block],
                conditioning=opened.conditioning.modulations[operation.block],
                text=texts[operation.block],
                operation=operation,
                queries=places[operation.queries],
                keys=places[operation.keys],
                mean=places[None],
                text_rotary=opened.text_rotary,
                weights=None if role.weights is None else self._extras(operation.role)[str(operation.block)],
                skip=gain.skip,
                module=module,
            )
            if self.gradient_checkpointing and torch.is_grad_enabled():
                tokens = Tokens(*self._gradient_checkpointing_func(self._run, operation, tuple(tokens), call))
            else:
                tokens = self._run(operation, tokens, call)
        return tokens

    def _run(self, operation: Operation, tokens: tuple[Tensor | None, ...], call: Call) -> Tokens:
        return ROLE_MODULES[operation.role].compute(Tokens(*tokens), call)  # type: ignore[arg-type]

    def _graph_at(self, timestep: Tensor, grid: TokenGrid) -> Graph:
        """The graph of the stage that holds all timesteps; one on an edge, but for rounding, belongs to both sides."""
        if torch.compiler.is_compiling():
            raise UserError("compile_stages() compiles a graph per stage; torch.compile needs graph=", field="forward")
        graphs, timetable = self.graphs(grid), self._schedule.timetable
        if len(graphs) == 1:
            return graphs[0]
        low, high = (float(bound) / self.config["num_train_timesteps"] for bound in torch.aminmax(timestep))
        stage = timetable.stage_of(low)
        if stage < timetable.stage_of(max(high - 2 * CLOCK_ERROR, 0.0)):
            raise UserError(f"a batch must lie in one stage of the timetable, but got t in [{low}, {high}]")
        return graphs[stage]


def _plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if not key.startswith("_")}


def _tied_copies(model: FlexDiT) -> list[tuple[str, str]]:
    return [(f"base.{copy}", f"base.{original}") for copy, original in model._parts.tied_copies]


def _drop_copies(model: FlexDiT, state: dict[str, Tensor], prefix: str, _: Any) -> None:
    """Leaves out what shared embedders hold twice."""
    tied = tuple(prefix + copy for copy, _original in _tied_copies(model))
    for key in [key for key in state if key.startswith(tied)]:
        del state[key]


def _restore_tied_copies(model: FlexDiT, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    for tied, first in _tied_copies(model):
        for key in [key for key in state if key.startswith(prefix + first)]:
            state[prefix + tied + key.removeprefix(prefix + first)] = state[key]


def _keep_width_order(model: FlexDiT, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Weights without it leave it, weights with it bring it."""
    if f"{prefix}width_order.hidden" in state:
        model.add_width_order()
    elif model.width_order is not None:
        state |= {f"{prefix}width_order.{name}": value for name, value in model.width_order.named_buffers()}


def _keep_data_gaussian(model: FlexDiT, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """It is of the base, not of a training: weights without it leave it, weights with it bring it."""
    if f"{prefix}data_means" in state:
        model.set_data_gaussian(DataGaussian.from_tensors(state, prefix))
    if model.data_gaussian is not None:
        state |= {f"{prefix}{name}": value for name, value in model.data_gaussian.tensors.items()}

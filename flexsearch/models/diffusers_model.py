"""Say what diffusers' pipelines and tools ask of a model, of one that takes its base apart."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from inspect import signature
from os import PathLike
from pathlib import Path
from typing import Any

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import FrozenDict
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import Tensor

from flexsearch.errors import UserError
from flexsearch.models.adapters import AdaptersOfBase


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


class DiffusersModel(AdaptersOfBase, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A model that is called in place of its `base`, whose configuration it shows beside its own."""

    _supports_gradient_checkpointing = True
    _keep_in_fp32_modules = None
    _no_split_modules = ["BasicTransformerBlock"]  # noqa: RUF012 - diffusers reads it from the class

    @classmethod
    def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **options: Any) -> Any:
        """Build the model that `model.config` describes, with fresh weights.

        Args:
            config: of such a model. It shows the base's fields, too, which lie in `base_config` once more.
            return_unused_kwargs: as diffusers' method.
            options: as diffusers' method.
        """
        own = {*signature(cls.__init__).parameters, "_class_name", "_diffusers_version", "_name_or_path"}
        if isinstance(config, Mapping):
            config = {name: value for name, value in config.items() if name in own}
        return super().from_config(config, return_unused_kwargs, **options)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike[str], **options: Any) -> Any:
        """Load what `save_pretrained` wrote: its own folder, or a folder in pipeline layout that holds it as
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

    @property
    def config(self) -> FrozenDict:
        """The base's configuration (pipelines read `sample_size`, `in_channels`, ...) and the model's own."""
        return FrozenDict({**self._internal_dict.get("base_config", {}), **self._internal_dict})

    def enable_layerwise_casting(self, *arguments: Any, **options: Any) -> None:
        """Store the base's weights in a smaller type, such as fp8, where the base itself does, and cast them when they
        are used; arguments are those of diffusers' method. Weights that roles add stay as they are."""
        base: Any = self.base
        base.enable_layerwise_casting(*arguments, **options)

    def set_attn_processor(self, processor: Any) -> None:
        """Refuse: attention is computed here.

        Raises:
            UserError: always.
        """
        raise UserError(
            "FlexDiT computes attention itself, by scaled_dot_product_attention", field="set_attn_processor"
        )

    def enable_cache(self, config: Any) -> None:
        """Refuse: reuse over steps is found by a search.

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
        """Refuse: blocks play other roles in other stages.

        Raises:
            UserError: always.
        """
        raise UserError("use compile_stages(), which compiles one graph per stage", field="compile_repeated_blocks")

    def enable_forward_chunking(self, *arguments: Any, **options: Any) -> None:
        """Refuse: MLPs are called on all tokens at once.

        Raises:
            UserError: always.
        """
        raise UserError("FlexDiT calls MLPs on all tokens at once", field="enable_forward_chunking")

    def fuse_qkv_projections(self) -> None:
        """Refuse: matrices are joined here.

        Raises:
            UserError: always.
        """
        raise UserError("use fuse(), which joins matrices that multiply one input", field="fuse_qkv_projections")


def conditions_of(arguments: Mapping[str, Any], *, reads: Sequence[str], backbone: str) -> dict[str, Tensor]:
    """Give the arguments that condition a base, without those that diffusers' pipelines leave at their defaults.

    Raises:
        UserError: one is not among those that the base reads.
    """
    given = {**arguments, **(arguments.get("added_cond_kwargs") or {})}
    if given.pop("enable_temporal_attentions", True) is not True:
        raise UserError("must be True, but got False", field="enable_temporal_attentions")
    given = {name: value for name, value in given.items() if name != "added_cond_kwargs" and value is not None}
    given = {name: value for name, value in given.items() if not isinstance(value, Mapping) or value}
    unknown = sorted(set(given) - set(reads))
    if unknown:
        raise UserError(f"a {backbone} base reads {list(reads)}", field=unknown[0])
    return given

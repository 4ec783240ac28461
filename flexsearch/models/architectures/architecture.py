"""Say what is known of an architecture without torch and weights: sizes from a configuration, published checkpoints.

The adapter that takes its models apart lies under the same file name in `flexsearch.models.backbones`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any

from flexsearch.errors import UserError, shown
from flexsearch.schedule.shape import TokenGrid, TransformerShape

MOST = 65_536
"""Of any size in a configuration: more is a slip, which would not end."""

CAPTION_TOKENS = 120
"""Tokens of a caption, padding included, in PixArt-alpha and Latte."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One architecture of diffusers.

    Attributes:
        name: of `base.backbone`.
        adapter: of its models, as "module:class".
        shape_of: from the configuration of a model to its sizes.
        recognises: whether a configuration is one of its.
        class_name: diffusers' class of its models, which a refusal of others names.
        scheduler: diffusers' class that its publishers sample with.
        task: on the Hugging Face hub; None leaves it out of model cards.
        pipeline: diffusers' class in which its models run; None where flexsearch's own `FlexDiTPipeline` runs them.
        has_own_encoders: whether prompts are embedded by that pipeline, and not by a T5 alone.
        known: configurations of published checkpoints, so that their sizes are known without the network.
        schedulers: what the scheduler's configurations of published checkpoints say beside their class, where that is
            not the class's default; used until the checkpoint is here.
        licences: of published checkpoints, as their publishers declare them.
        takes_sample_size: whether diffusers' configurations say no size of the samples, so that `base.sample_size` may.
        refused: published checkpoints of this class that are not supported, and why.
        drawn_with: how its publishers draw: `steps`, and fields of `sampling`; what is missing is told from its sizes.
            By the name of a published checkpoint, what differs there.
        guided_call: from a scale of guidance to the arguments of a call of its pipeline that say it.
    """

    name: str
    adapter: str
    shape_of: Callable[[Mapping[str, Any]], TransformerShape]
    recognises: Callable[[Mapping[str, Any]], bool]
    class_name: str = ""
    scheduler: str = "FlowMatchEulerDiscreteScheduler"
    task: str | None = None
    pipeline: str | None = None
    has_own_encoders: bool = False
    known: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    schedulers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    licences: Mapping[str, str] = field(default_factory=dict)
    takes_sample_size: bool = False
    refused: Mapping[str, str] = field(default_factory=dict)
    drawn_with: Mapping[str, Any] = field(default_factory=dict)
    guided_call: Callable[[float], dict[str, Any]] = lambda scale: {"guidance_scale": scale}

    def scheduler_of(self, checkpoint: str) -> dict[str, Any]:
        """Give the configuration of the scheduler that a checkpoint is published with, as far as it is known."""
        return {"_class_name": self.scheduler, **self.schedulers.get(checkpoint, {})}


_ARCHITECTURES: dict[str, Architecture] = {}
ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(_ARCHITECTURES)
"""Every known architecture by name."""

ENTRY_POINTS = "flexsearch.backbones"
"""Group of entry points by which an installed package brings backbones: name of the backbone, module that registers
it."""


def register_architecture(architecture: Architecture) -> Architecture:
    """Make an architecture known."""
    _ARCHITECTURES[architecture.name] = architecture
    return architecture


def architecture_named(name: str, *, field: str) -> Architecture:
    """Give an architecture; look for one that is not known yet in installed packages.

    Raises:
        UserError: there is none.
    """
    if name not in ARCHITECTURES:
        for entry in entry_points(group=ENTRY_POINTS, name=name):
            entry.load()
    if name not in ARCHITECTURES:
        raise UserError(f"must be one of {sorted(ARCHITECTURES)}, but got {name!r}", field=field)
    return ARCHITECTURES[name]


EXPORTED = "FlexDiT"
"""Class of the models that `flexsearch export` writes."""


def recognised(config: Mapping[str, Any], *, field: str) -> Architecture:
    """Give the architecture of a model with this configuration. Early checkpoints call every class
    `Transformer2DModel`; those with captions are PixArt-alpha's.

    Raises:
        UserError: it is an exported schedule, or of a class that is not supported.
    """
    for one in ARCHITECTURES.values():
        if one.recognises(config):
            return one
    found = config.get("_class_name")
    if found == EXPORTED:
        raise UserError("is an exported schedule, not a dense base; its base is in its recipe.yaml", field=field)
    supported = ", ".join(sorted(_short(one.class_name) or one.name for one in ARCHITECTURES.values()))
    raise UserError(
        f"{found} is not supported; supported: {supported}; how to add one: docs/tutorials/backbone.md", field=field
    )


def _short(class_name: str) -> str:
    """Give what tells diffusers' classes apart: their names end alike."""
    return re.sub(r"Transformer\dDModel$", "", class_name)


def nearest_architecture(config: Mapping[str, Any]) -> Architecture:
    """Give the known architecture that is most like a model that none recognises: by its class's name, and by the names
    of the fields in its configuration."""
    name, fields = str(config.get("_class_name")), {key for key in config if not key.startswith("_")}

    def likeness(one: Architecture) -> float:
        own = max((_shared(fields, set(known)) for known in one.known.values()), default=0.0)
        return own + SequenceMatcher(None, name, one.class_name or one.name).ratio()

    return max(ARCHITECTURES.values(), key=likeness)


def _shared(some: set[str], others: set[str]) -> float:
    return len(some & others) / max(1, len(some | others))


def known_config(checkpoint: str) -> Mapping[str, Any] | None:
    """Give the configuration of a published checkpoint; None for one that is not known."""
    return next((one.known[checkpoint] for one in ARCHITECTURES.values() if checkpoint in one.known), None)


def refusal_of(checkpoint: str) -> str | None:
    """Say why a published checkpoint is not supported; None of one that is not known to be so."""
    return next((one.refused[checkpoint] for one in ARCHITECTURES.values() if checkpoint in one.refused), None)


def known_checkpoints() -> list[str]:
    """List the published checkpoints whose sizes are known without the network."""
    return sorted(checkpoint for one in ARCHITECTURES.values() for checkpoint in one.known)


def _given(values: Mapping[str, Any], name: str) -> Any:
    """Give a value of a configuration, which says all sizes itself: diffusers' defaults are another model's."""
    if name not in values:
        raise UserError("is missing", field=name)
    return values[name]


def size_in(values: Mapping[str, Any], name: str) -> int:
    """Give a size of a configuration.

    Raises:
        UserError: it is missing, or no whole number that a size can be.
    """
    size = _given(values, name)
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MOST:
        raise UserError(f"must be a whole number in 1 to {MOST:,}, but got {shown(size)}", field=name)
    return size


def common_sizes(values: Mapping[str, Any], *, frames: int = 1) -> dict[str, Any]:
    """Give the arguments of `TransformerShape` that all of diffusers' configurations spell alike.

    Raises:
        UserError: one is missing or no size, or patches do not divide the sample.
    """
    sample, patch, channels = (size_in(values, name) for name in ("sample_size", "patch_size", "in_channels"))
    if sample % patch:
        nearest = " or ".join(str(size) for size in (sample // patch * patch, (sample // patch + 1) * patch) if size)
        raise UserError(
            f"must be a multiple of patch_size {patch}, but got {sample}", field="sample_size", nearest=nearest
        )
    return {
        "num_blocks": size_in(values, "num_layers"),
        "width": size_in(values, "num_attention_heads") * size_in(values, "attention_head_dim"),
        "grid": TokenGrid(frames=frames, height=sample // patch, width=sample // patch),
        "patch_size": patch,
        "in_channels": channels,
        "out_channels": channels if _given(values, "out_channels") is None else size_in(values, "out_channels"),
    }


def width_sizes(values: Mapping[str, Any], *, activation: str = "gelu-approximate") -> dict[str, Any]:
    """Give those of a model whose blocks can be computed in part: attention by head, an MLP without gates.

    Args:
        values: diffusers' configuration.
        activation: of its class, where it names none.
    """
    is_plain = values.get("activation_fn", activation) in ("gelu", "gelu-approximate")
    return {"num_heads": size_in(values, "num_attention_heads") if is_plain else 0}


def text_sizes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give those of a model that reads captions and shares its modulation.

    Raises:
        UserError: the configuration does not say how many channels a caption has.
    """
    if not values.get("caption_channels"):
        raise UserError("must be given for a model that reads text", field="caption_channels")
    return {
        "num_classes": 0,
        "text_tokens": CAPTION_TOKENS,
        "text_channels": size_in(values, "caption_channels"),
        "shares_modulation": True,
    }


PUBLISHED: Mapping[str, Any] = {
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "attention_head_dim": 72,
    "dropout": 0.0,
    "in_channels": 4,
    "norm_elementwise_affine": False,
    "num_attention_heads": 16,
    "num_embeds_ada_norm": 1000,
    "num_layers": 28,
    "out_channels": 8,
    "patch_size": 2,
}
"""What the XL/2 checkpoints of DiT, PixArt-alpha and Latte have in common."""

PUBLISHED_WITH_TEXT: Mapping[str, Any] = {
    **PUBLISHED,
    "caption_channels": 4096,
    "cross_attention_dim": 1152,
    "norm_eps": 1e-6,
    "norm_type": "ada_norm_single",
}

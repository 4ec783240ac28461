"""diffusers' methods for adapters (LoRA and others of peft), called on the base, whose names their files have."""

from collections.abc import Mapping
from typing import Any

from diffusers.loaders import PeftAdapterMixin
from torch import nn

from flexsearch.errors import UserError

_OF_BASE = frozenset({"peft_config", *(name for name in vars(PeftAdapterMixin) if not name.startswith("_"))})
_DOWN = ".lora_A.weight"


class AdaptersOfBase:
    """A model that has the methods of `PeftAdapterMixin` that its `base` has: adapters are put on the base's layers."""

    def __getattr__(self, name: str) -> Any:
        """Give the base's own.

        Raises:
            AttributeError: there is no such attribute; of a base without methods for adapters, says what has them.
        """
        found: Any = super()
        if name not in _OF_BASE:
            return found.__getattr__(name)
        base = self.base
        if not isinstance(base, PeftAdapterMixin):
            raise AttributeError(
                f"{name}: diffusers' {type(base).__name__} has no methods for adapters; "
                "peft.inject_adapter_in_model(config, model.base) puts one there"
            )
        return getattr(base, name)

    def load_lora_adapter(self, pretrained_model_name_or_path_or_dict: Any, *arguments: Any, **options: Any) -> None:
        """Load a LoRA into the base, as diffusers' method of this name.

        Args:
            pretrained_model_name_or_path_or_dict: a file, or weights by the base's names, as pipelines give them.
            arguments: as diffusers' method.
            options: as diffusers' method.

        Raises:
            UserError: it is made for layers of other sizes, such as FLUX.1's Control LoRA, which widens the embedding.
            AttributeError: diffusers' class of the base has no methods for adapters.
        """
        load = self.__getattr__("load_lora_adapter")
        weights = pretrained_model_name_or_path_or_dict
        if isinstance(weights, Mapping):
            _check_sizes(self.base, weights, prefix=options.get("prefix", "transformer"))
        load(weights, *arguments, **options)


def _check_sizes(base: Any, weights: Mapping[str, Any], *, prefix: str | None) -> None:
    """Check that a LoRA's layers read what the base's layers of these names read."""
    layers = {name.replace(".base_layer", ""): one for name, one in base.named_modules() if isinstance(one, nn.Linear)}
    start = "" if prefix is None else f"{prefix}."
    for name, weight in weights.items():
        layer = layers.get(name.removeprefix(start).removesuffix(_DOWN)) if name.endswith(_DOWN) else None
        if layer is not None and weight.shape[1] != layer.in_features:
            raise UserError(
                f"reads {layer.in_features} channels, but the LoRA is for {weight.shape[1]}: a Control LoRA, or one "
                "of another base",
                field=f"base.{name.removeprefix(start).removesuffix(_DOWN)}",
            )

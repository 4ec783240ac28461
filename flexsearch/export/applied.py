"""A found schedule in a diffusers pipeline that the user has loaded already, and out of it again."""

from pathlib import Path
from typing import Any

from flexsearch.errors import UserError
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.loading import load_exported

_DENSE = "_dense_transformer"
_SIZES = {
    *("num_layers", "num_attention_heads", "attention_head_dim", "in_channels", "sample_size", "patch_size"),
    *("num_single_layers", "dual_attention_layers", "guidance_embeds", "dim", "n_layers", "n_heads"),
}
"""Of a transformer's configuration, by diffusers' names; an architecture has some of them."""


def apply(pipeline: Any, exported: str | Path) -> Any:
    """Put an exported model into a diffusers pipeline of its base, in place of the pipeline's transformer.

    The pipeline keeps its scheduler, its steps and its guidance: it runs the schedule at every step in full. What else
    the search found (solver, reuse, guidance rows) is drawn by `FlexDiTPipeline` and `flexsearch sample`.

    Args:
        pipeline: of diffusers, changed in place; its own transformer is kept, for `remove`.
        exported: the folder that `flexsearch export` or `flexsearch train` wrote.

    Returns:
        The pipeline.

    Raises:
        UserError: the pipeline's transformer is not the base of the exported model, or there is one already.
    """
    dense: Any = getattr(pipeline, "transformer", None)
    if hasattr(pipeline, _DENSE):
        raise UserError("has a schedule already: flexsearch.remove(pipeline) takes it out", field="pipeline")
    model = load_exported(Path(exported))
    base: Any = model.base
    if type(dense) is not type(base):
        raise UserError(
            f"must have a {type(base).__name__} as its transformer, but got {type(dense).__name__}", field="pipeline"
        )
    for name in sorted(_SIZES & set(dense.config) & set(base.config)):
        if _as_saved(dense.config[name]) != _as_saved(base.config[name]):
            raise UserError(
                f"must be {base.config[name]}, as in the base of {exported}, but got {dense.config[name]}",
                field=f"pipeline.transformer.config.{name}",
            )
    pipeline.transformer = model.to(dense.device, dense.dtype)
    setattr(pipeline, _DENSE, dense)
    return pipeline


def remove(pipeline: Any) -> Any:
    """Give a pipeline its own transformer back.

    Args:
        pipeline: that `apply` changed, changed in place.

    Returns:
        The pipeline.

    Raises:
        UserError: nothing was applied to it.
    """
    if not isinstance(getattr(pipeline, "transformer", None), FlexDiT) or not hasattr(pipeline, _DENSE):
        raise UserError("has no schedule that flexsearch.apply put there", field="pipeline")
    pipeline.transformer = getattr(pipeline, _DENSE)
    delattr(pipeline, _DENSE)
    return pipeline


def _as_saved(value: Any) -> Any:
    """Give a value of a configuration as a file has it."""
    return list(value) if isinstance(value, tuple) else value

"""A found schedule in a diffusers pipeline that the user has loaded already, and out of it again."""

import warnings
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline

from flexsearch.errors import Note, UserError
from flexsearch.export.folder import CANDIDATE, TRANSFORMER, exported_candidate
from flexsearch.export.plain_settings import FOLDER, beyond_schedulers
from flexsearch.models.backbones import backbone_named
from flexsearch.models.backbones.hooks import hook_of, is_hooked
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.loading import load_exported
from flexsearch.paths import as_word

_DENSE = "_dense_transformer"


def apply(pipeline: Any, exported: str | Path) -> Any:
    """Put an exported model into a diffusers pipeline of its base, in place of the pipeline's transformer.

    The pipeline keeps its scheduler, its steps and its guidance: it runs the schedule at every step in full. A `Note`
    says the steps, and the scheduler, that the schedule was found with: they are yours to set. What a pipeline cannot
    do (reuse over steps, guidance at some steps, a gain that weights do not carry, `ab2` and `heun`, a first step
    from the data's mean) is refused: `FlexDiTPipeline` draws it for classes, `flexsearch sample` for text.

    The weights are those of the folder. Adapters go on `pipeline.transformer.base` afterwards, casting on
    `pipeline.transformer`, and offload on the pipeline.

    Args:
        pipeline: of diffusers, changed in place; its own transformer is kept, for `remove`.
        exported: the folder that `flexsearch export` or `flexsearch train` wrote. Without a `candidate.json` it holds a
            schedule and nothing beside.

    Returns:
        The pipeline.

    Raises:
        UserError: the pipeline's transformer is not the base of the exported model, or its configuration differs; it
            has adapters, hooks, fp8 casting or other layers, which would be dropped; the pipeline has a second
            transformer or calls it as no `FlexDiT` is called; there is a schedule already; or the folder holds what a
            pipeline cannot do.
    """
    dense: Any = getattr(pipeline, "transformer", None)
    if hasattr(pipeline, _DENSE):
        raise UserError("has a schedule already: flexsearch.remove(pipeline) takes it out", field="pipeline")
    folder = Path(exported)
    if folder.name == TRANSFORMER and (folder.parent / CANDIDATE).is_file():
        folder = folder.parent  # what weights were found with lies beside them
    to_set = _left_to_user(folder)
    model = load_exported(folder)
    base: Any = model.base
    if type(dense) is not type(base):
        raise UserError(
            f"must have a {type(base).__name__} as its transformer, but got {type(dense).__name__}", field="pipeline"
        )
    _check_called_alike(pipeline, model)
    _check_same_config(dense, base, exported)
    _check_nothing_hangs_on(dense, base)
    pipeline.transformer = model.to(dense.device, dense.dtype)
    setattr(pipeline, _DENSE, dense)
    if to_set is not None:
        warnings.warn(to_set, Note, stacklevel=2)
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


def _left_to_user(folder: Path) -> str | None:
    """Say which settings of a pipeline go with the schedule in a folder; None where it has no candidate.

    Raises:
        UserError: the candidate samples as no pipeline can.
    """
    if not (folder / CANDIDATE).is_file():
        return None
    candidate = exported_candidate(folder)
    sampling = candidate.sampling
    beyond = [*beyond_schedulers(sampling)]
    if candidate.reuses:
        beyond.insert(0, f"reuse over steps, {sampling.pattern}: pipelines compute every step in full")
    if beyond:
        is_pipeline = (folder / DiffusionPipeline.config_name).is_file()
        by_pipeline = f"FlexDiTPipeline.from_pretrained({str(folder)!r})"
        instead = by_pipeline if is_pipeline else f"flexsearch sample {as_word(folder)}"
        raise UserError(
            f"holds more than a density schedule, which apply would drop ({'; '.join(beyond)}); "
            f"`{instead}` draws all of it",
            field=str(folder),
        )
    called = f"pipeline(..., num_inference_steps={sampling.steps})"
    if sampling.solver == "base" and sampling.shift == 1:
        return f"{folder} was found with {sampling.steps} steps: {called}"
    found = f"{sampling.steps} steps, solver {sampling.solver}, shift {sampling.shift:g}"
    return f"{folder} was found with {found}: {called}, and the scheduler in {folder / FOLDER} for the pipeline's own"


def _check_called_alike(pipeline: Any, model: FlexDiT) -> None:
    """Check that the pipeline has one transformer, and calls it with arguments that a `FlexDiT` takes."""
    if getattr(pipeline, "transformer_2", None) is not None:
        raise UserError(
            "must be None: the pipeline has two transformers, as that of Wan2.2-A14B, and one schedule is not for both",
            field="pipeline.transformer_2",
        )
    if not backbone_named(model.config.backbone, field="backbone").is_called_by_keyword:
        raise UserError(
            f"{type(pipeline).__name__} gives its transformer lists by position, which FlexDiT does not take; "
            "`flexsearch sample` draws",
            field="pipeline",
        )


def _check_same_config(dense: Any, base: Any, exported: str | Path) -> None:
    """Check every field that both transformers' configurations have, but for those that diffusers adds."""
    for name in sorted(set(dense.config) & set(base.config)):
        if not name.startswith("_") and _as_saved(dense.config[name]) != _as_saved(base.config[name]):
            raise UserError(
                f"must be {base.config[name]}, as in the base of {exported}, but got {dense.config[name]}",
                field=f"pipeline.transformer.config.{name}",
            )


def _check_nothing_hangs_on(dense: Any, base: Any) -> None:
    """Check that a transformer is as its class builds it, for what else it has would be gone: layers of adapters or of
    quantisation, hooks (casting to fp8 is some), attention processors and backends, what is compiled."""
    own = dict(base.named_modules(remove_duplicate=False))
    for name, module in dense.named_modules(remove_duplicate=False):
        field = ".".join(part for part in ("pipeline.transformer", name) if part)
        said = _what_hangs_on(module, own.get(name))
        if said is not None:
            raise UserError(
                f"has {said}, which apply would drop: take it off first; after apply, adapters go on "
                "pipeline.transformer.base, casting on pipeline.transformer, and offload on the pipeline",
                field=field,
            )


def _what_hangs_on(module: Any, own: Any) -> str | None:
    """Say what a module has beside the one of the same name as freshly built, which is None if there is none."""
    package = type(module).__module__.partition(".")[0]
    if type(module) is not type(own):
        kind = f"an adapter of {package}" if package == "peft" else "a layer of another kind"
        return f"{kind} ({type(module).__name__})"
    if is_hooked(module):
        return f"a hook ({hook_of(module)})"
    if module._compiled_call_impl is not None:
        return "a compiled forward"
    processor = getattr(module, "processor", None)
    if type(processor) is not type(getattr(own, "processor", None)):
        return f"the processor {type(processor).__name__}"
    backend = getattr(processor, "_attention_backend", None)
    return None if backend is None else f"the attention backend {backend}"


def _as_saved(value: Any) -> Any:
    """Give a value of a configuration as a file has it."""
    return list(value) if isinstance(value, tuple) else value

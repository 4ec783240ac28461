"""A found schedule in a diffusers pipeline that the user has loaded already, and out of it again."""

import copy
import warnings
from pathlib import Path
from typing import Any, Literal, cast

from diffusers import DiffusionPipeline

from flexsearch.errors import Note, UserError, shown
from flexsearch.export.folder import CANDIDATE, FINGERPRINT, TRANSFORMER, exported_candidate
from flexsearch.export.plain_settings import FOLDER, beyond_schedulers
from flexsearch.export.recipe import RECIPE, load_recipe
from flexsearch.models.backbones import backbone_named
from flexsearch.models.backbones.hooks import hook_of, is_compiled, is_hooked
from flexsearch.models.fingerprint import Fingerprint
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.fold import fold_gain_into_base
from flexsearch.models.loading import load_exported
from flexsearch.paths import as_word

_DENSE = "_dense_transformer"
Weights = Literal["pipeline", "exported"]


def apply(pipeline: Any, exported: str | Path, *, weights: Weights | None = None) -> Any:
    """Put an exported model into a diffusers pipeline of its base, in place of the pipeline's transformer.

    The pipeline keeps its scheduler, its steps and its guidance: it runs the schedule at every step in full. A `Note`
    says the steps, and the scheduler, that the schedule was found with: they are yours to set. What a pipeline cannot
    do (reuse over steps, guidance at some steps, a gain that weights do not carry, `ab2` and `heun`, a first step
    from the data's mean) is refused: `FlexDiTPipeline` draws it for classes, `flexsearch sample` for text.

    Where nothing was trained, the base's weights are the pipeline's own, copied. Where something was, they are those of
    the folder, if the pipeline's are those that it was trained from; else `weights` says which. Adapters go on the
    pipeline, or on `pipeline.transformer.base`, afterwards, casting on `pipeline.transformer`, and offload on the
    pipeline.

    Args:
        pipeline: of diffusers, changed in place; its own transformer is kept, for `remove`.
        exported: the folder that `flexsearch export` or `flexsearch train` wrote. Without a `candidate.json` it holds a
            schedule and nothing beside.
        weights: of the base: "pipeline" keeps the pipeline's under the schedule, with those that roles add from the
            folder; "exported" takes all from the folder; None decides as above.

    Returns:
        The pipeline.

    Raises:
        UserError: the pipeline's transformer is not the base of the exported model, or its configuration differs; it
            has adapters, hooks, fp8 casting or other layers, which would be dropped; the pipeline has a second
            transformer or calls it as no `FlexDiT` is called; there is a schedule already; the folder holds what a
            pipeline cannot do; or its weights were trained from others than the pipeline's.
    """
    if weights not in ("pipeline", "exported", None):
        raise UserError(f'must be "pipeline", "exported" or None, but got {shown(weights)}', field="weights")
    dense: Any = getattr(pipeline, "transformer", None)
    if hasattr(pipeline, _DENSE):
        raise UserError("has a schedule already: flexsearch.remove(pipeline) takes it out", field="pipeline")
    folder = Path(exported)
    if folder.name == TRANSFORMER and (folder.parent / CANDIDATE).is_file():
        folder = folder.parent  # what weights were found with lies beside them
    notes = [_left_to_user(folder)]
    model = load_exported(folder)
    base: Any = model.base
    if type(dense) is not type(base):
        raise UserError(
            f"must have a {type(base).__name__} as its transformer, but got {type(dense).__name__}", field="pipeline"
        )
    _check_called_alike(pipeline, model)
    _check_same_config(dense, base, exported)
    _check_nothing_hangs_on(dense, base)
    if weights is None:
        weights, of_weights = _weights_for(dense, base, folder)
        notes.append(of_weights)
    if weights == "pipeline":
        pipeline.transformer = _with_own_weights(dense, model, folder)
    else:
        pipeline.transformer = model.to(dense.device, dense.dtype)
    setattr(pipeline, _DENSE, dense)
    for note in filter(None, notes):
        warnings.warn(note, Note, stacklevel=2)
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


def _weights_for(dense: Any, base: Any, folder: Path) -> tuple[Weights, str | None]:
    """Say whose weights a pipeline with the transformer `dense` gets, and what its user is to know of that.

    Raises:
        UserError: the folder's were trained, from others than the pipeline's.
    """
    others = 'weights="{}" '.format
    if not (folder / FINGERPRINT).is_file():
        differs = Fingerprint.of(base, exported=base).first_difference(dense)
        said = f"the weights of {folder} take the place of the pipeline's, which differ (first {differs}); the folder "
        advice = f"does not say which it was made from: {others('pipeline')}keeps the pipeline's under the schedule"
        return "exported", None if differs is None else said + advice
    fingerprint = Fingerprint.load(folder / FINGERPRINT)
    differs = fingerprint.first_difference(dense)
    if not fingerprint.is_trained:
        said = f"the schedule of {folder}, and what its roles add, were made for other weights than the pipeline's"
        return "pipeline", None if differs is None else f"{said}, which are kept (first {differs})"
    if differs is not None:
        raise UserError(
            f"has other weights than those that {folder} was trained from (first {differs}): {others('exported')}puts "
            f"the folder's in their place, {others('pipeline')}keeps them under the schedule, untrained for it",
            field="pipeline.transformer",
        )
    return "exported", None


def _with_own_weights(dense: Any, exported: FlexDiT, folder: Path) -> FlexDiT:
    """Give a model of the exported schedule with a copy of `dense`, and the exported weights of roles."""
    base, theirs = copy.deepcopy(dense), cast(Any, exported.base).config
    base.register_to_config(**{name: theirs[name] for name in theirs.keys() - base.config.keys()})
    own = ("backbone", "schedule", "extra_blocks", "num_train_timesteps", "has_data_means", "num_data_directions")
    model: FlexDiT = FlexDiT(**{name: exported.config[name] for name in (*own, "has_width_order")}, base=base)
    beside = {name: value for name, value in exported.state_dict().items() if not name.startswith("base.")}
    unexpected = model.load_state_dict(beside, strict=False).unexpected_keys
    assert not unexpected, "roles hold weights in the same blocks"
    folded = load_recipe(folder).folded if (folder / RECIPE).is_file() else None
    if folded is not None:
        fold_gain_into_base(model, folded)
    model.eval()
    return model


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
    if is_compiled(module):
        return "a compiled forward"
    processor = getattr(module, "processor", None)
    if type(processor) is not type(getattr(own, "processor", None)):
        return f"the processor {type(processor).__name__}"
    backend = getattr(processor, "_attention_backend", None)
    return None if backend is None else f"the attention backend {backend}"


def _as_saved(value: Any) -> Any:
    """Give a value of a configuration as a file has it."""
    return list(value) if isinstance(value, tuple) else value

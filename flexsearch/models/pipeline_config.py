"""Read what a pipeline of diffusers is, from its configuration alone: a folder, or a name on the Hugging Face hub."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexsearch.errors import UserError, cut
from flexsearch.models.architectures import Architecture, known_config, nearest_architecture, recognised
from flexsearch.models.architectures.architecture import EXPORTED
from flexsearch.models.settings import BaseSettings, read_json
from flexsearch.paths import checkpoint_folder, is_path

_FILES = ("model_index.json", "transformer/config.json", "unet/config.json", "scheduler/scheduler_config.json")
_DENOISERS = ("transformer", "unet")


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """What is known of a pipeline without its weights.

    Attributes:
        checkpoint: its folder, or its name on the Hugging Face hub.
        revision: on the hub.
        name: diffusers' class of the pipeline; None where its index is not there.
        architecture: of its transformer.
        config: of its transformer.
    """

    checkpoint: str
    revision: str | None
    name: str | None
    architecture: Architecture
    config: Mapping[str, Any]

    @property
    def drawn_with(self) -> Mapping[str, Any]:
        """How its publishers draw, as far as its architecture says."""
        own = self.architecture.drawn_with
        return {**own, **own.get(self.checkpoint, {})}

    @property
    def base(self) -> BaseSettings:
        """The base of a search."""
        return BaseSettings(checkpoint=self.checkpoint, backbone=self.architecture.name, revision=self.revision)


def read_pipeline(checkpoint: str, *, revision: str | None = None) -> Pipeline:
    """Read the configuration of a pipeline and recognise its model. Of one on the hub only that is downloaded.

    Raises:
        UserError: it is not there, damaged, no pipeline, or of a model that is not supported; names the nearest.
    """
    folder: Path | None = checkpoint_folder(checkpoint)
    assert folder is not None
    if not folder.is_dir():
        if is_path(checkpoint):
            raise UserError("is not there", field=str(folder))
        folder, known = _from_hub(checkpoint, revision), known_config(checkpoint)
        if folder is None:
            assert known is not None
            architecture = recognised(known, field=checkpoint)
            return Pipeline(
                checkpoint=checkpoint,
                revision=revision,
                name=architecture.pipeline,
                architecture=architecture,
                config=known,
            )
    index = read_json(folder / "model_index.json") if (folder / "model_index.json").is_file() else {}
    part = next((one for one in _DENOISERS if (folder / one / "config.json").is_file()), None)
    if part is None:
        is_model = (folder / "config.json").is_file()
        what = "holds a model and no pipeline" if is_model else f"holds no {_FILES[1]}"
        raise UserError(
            f"{what}: give the folder of a pipeline of diffusers, with model_index.json, transformer/ and scheduler/",
            field=checkpoint,
        )
    config = read_json(folder / part / "config.json")
    second = index.get("transformer_2")
    if isinstance(second, list) and any(second):
        raise UserError("has two transformers, which take turns; only one can be searched", field=checkpoint)
    return Pipeline(
        checkpoint=checkpoint,
        revision=revision,
        name=index.get("_class_name"),
        architecture=_recognised(config, checkpoint),
        config=config,
    )


def _recognised(config: Mapping[str, Any], checkpoint: str) -> Architecture:
    try:
        return recognised(config, field=checkpoint)
    except UserError as error:
        if config.get("_class_name") == EXPORTED:
            raise
        one = nearest_architecture(config)
        example = f", as {next(iter(one.known))} is" if one.known else ""
        raise UserError(error.message, field=error.field, nearest=f"{one.class_name or one.name}{example}") from None


def _from_hub(checkpoint: str, revision: str | None) -> Path | None:
    """Download the configurations of a pipeline; None where that cannot be and its sizes are known without."""
    from huggingface_hub import snapshot_download  # most of a second

    try:
        return Path(snapshot_download(checkpoint, revision=revision, allow_patterns=list(_FILES)))
    except Exception as error:  # of the network, of the hub, or a name that none can have
        if known_config(checkpoint) is not None:
            return None
        reason = cut(" ".join(str(error).split()) or type(error).__name__, 160)
        raise UserError(
            f"is no folder here, and its configuration cannot be had from the Hugging Face hub ({reason})",
            field=checkpoint,
        ) from None

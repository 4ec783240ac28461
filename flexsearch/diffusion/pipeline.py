"""A diffusers pipeline of class-conditional models, in pixels or latents. Needs no part of flexsearch that searches.

diffusers' own `DiTPipeline` needs an autoencoder and ImageNet's 1000 classes; this one runs any DiT. Models that read
text run in diffusers' pipelines for their bases. Letters: B batch, C channels, H x W data.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import diffusers
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from flexsearch.data.conditions import ClassConditions
from flexsearch.diffusion.sampling import on, target_of, walk
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.errors import UserError
from flexsearch.models.architectures import architecture_named
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.clock import Spacing
from flexsearch.schedule.plan import lower
from flexsearch.schedule.sampling import Sampling

DEFAULT_STEPS = 50
_LARGEST_SEED = 2**62
_DEFAULTS = SamplingSettings()
_OUTPUT_TYPES = ("pil", "np", "pt", "latent")

Generators = torch.Generator | Sequence[torch.Generator] | None


class FlexDiTPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Draws images of given classes: `FlexDiTPipeline.from_pretrained(OUT)([3, 7]).images`.

    It samples as the search did, to the bit: by the solver that was found; by its pattern of steps, such as FFpFpp,
    where F computes all blocks, p a few of them and takes the others' work from earlier steps, and n none; with both
    rows of guidance at the steps that were found, and their last difference at the others; with the gain, factors on
    tokens, that the weights do not carry already. `str(pipeline.sampling)` says it in short.

    diffusers' own pipelines, which models that read text need, take `transformer=FlexDiT.from_pretrained(OUT)`. They
    run the schedule at every step in full, with both rows and their own scheduler: no reuse, and no gain but what
    weights carry. `flexsearch sample` draws such models with everything that was found.

    Args:
        transformer: a model that reads class labels.
        scheduler: a diffusers scheduler.
        vae: decodes latents; None where the model works on pixels.
        sampling: `Sampling.to_dict()` of what the schedule was found with; None is 50 steps.
        sampler_steps: its steps alone, in folders of earlier versions.
        guidance_channels: guide only the first channels; None guides all of the data's.
        spacing: of flow matching's sigmas.
    """

    model_cpu_offload_seq = "transformer->vae"
    _optional_components: ClassVar[list[str]] = ["vae"]

    def __init__(
        self,
        transformer: FlexDiT,
        scheduler: Any,
        vae: Any = None,
        sampling: Mapping[str, Any] | None = None,
        sampler_steps: int | None = None,
        guidance_channels: int | None = None,
        spacing: str = "pipeline",  # diffusers reads this annotation, and warns of a `Literal`
    ) -> None:
        super().__init__()
        if transformer.shape.text_tokens:
            raise UserError(
                "reads text: give it to the pipeline of its base, e.g. PixArtAlphaPipeline.from_pretrained(BASE, "
                "transformer=FlexDiT.from_pretrained(OUT))",
                field="transformer",
            )
        self.register_modules(transformer=transformer, scheduler=scheduler, vae=vae)
        found = sampling or {"sampler_steps": sampler_steps or DEFAULT_STEPS}
        self._sampling = Sampling.from_dict(found)
        self._settings = SamplingSettings(guidance_channels=guidance_channels, spacing=cast(Spacing, spacing))
        self.register_to_config(sampling=dict(found), guidance_channels=guidance_channels, spacing=spacing)

    @property
    def sampling(self) -> Sampling:
        """How images are drawn, beside the schedule."""
        return self._sampling

    @torch.no_grad()
    def __call__(
        self,
        class_labels: int | Sequence[int],
        guidance_scale: float = 1.0,
        num_inference_steps: int | None = None,
        generator: Generators = None,
        latents: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        num_images_per_prompt: int = 1,
        eta: float = 0.0,
        callback_on_step_end: Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> ImagePipelineOutput | tuple[Any]:
        """Draws images of labels.

        Args:
            class_labels: of the images; `num_classes` is "no label".
            guidance_scale: of classifier-free guidance; 1 is none and needs half of the work.
            num_inference_steps: sampler steps; None takes those that the schedule was found with. Solver and reuse
                stay: the pattern is spread over as many steps, but one that was given letter by letter fits its own
                number alone.
            generator: of the noise; with a list, one per image, an image does not depend on its batch.
            latents: (B, C, H, W) noise to start from; None draws it.
            output_type: "pil", "np" (B, H, W, C) in [0, 1], "pt" (B, C, H, W) in [0, 1], or "latent" (B, C, H, W) in
                model units, not decoded.
            return_dict: give an `ImagePipelineOutput`, else a tuple.
            num_images_per_prompt: images per label, next to each other.
            eta: 0; how much noise is added at every step is the solver's.
            callback_on_step_end: called as `(pipeline, step, timestep, {"latents": ...})` after every step, to look. It
                returns the mapping, or {}: other latents would not fit what steps reuse.
            callback_on_step_end_tensor_inputs: `("latents",)`.

        Raises:
            UserError: a label is out of range, an argument is not one of the above, latents have no `vae`, or the
                pattern of steps is given and has another length.
        """
        shape, device = self.transformer.shape, self._execution_device
        if output_type not in _OUTPUT_TYPES:
            raise UserError(f"must be one of {list(_OUTPUT_TYPES)}, but got {output_type!r}", field="output_type")
        if shape.in_channels not in (1, 3) and self.vae is None and output_type != "latent":
            raise UserError(
                "is missing: this model draws latents; give the base's, "
                'vae=AutoencoderKL.from_pretrained(BASE, subfolder="vae")',
                field="vae",
                nearest='output_type="latent"',
            )
        if eta != 0:
            raise UserError(f"must be 0: noise at every step is the solver's, but got {eta}", field="eta")
        if tuple(callback_on_step_end_tensor_inputs) != ("latents",):
            given_inputs = list(callback_on_step_end_tensor_inputs)
            raise UserError(f"must be ['latents'], but got {given_inputs}", field="callback_on_step_end_tensor_inputs")
        labels = [_label(one, shape.num_classes) for one in _listed(class_labels) for _ in range(num_images_per_prompt)]
        conditions = ClassConditions(num_classes=shape.num_classes)
        if latents is None:
            given = list(generator) if isinstance(generator, Sequence) else generator
            latents = randn_tensor((len(labels), *shape.sample_size), generator=given, device=device)
        settings, sampling = replace(self._settings, guidance=guidance_scale), self._sampling
        if num_inference_steps is not None:
            sampling = replace(sampling, steps=num_inference_steps)
        grid = self.transformer.grid_of(latents)
        plan = lower(
            Candidate(schedule=self.transformer.schedule, sampling=sampling),
            target_of(self.transformer, self.scheduler, settings, grid=grid),
        )
        data = latents
        for index, (data, _) in enumerate(
            walk(
                self.transformer,
                self.scheduler,
                plan,
                noise=latents.to(device=device, dtype=torch.float32),
                condition=on(device, conditions.of_labels(torch.tensor(labels))),
                none=on(device, conditions.none(len(labels))),
                settings=settings,
                seed=_step_seed(generator),
                progress=self.progress_bar,
            )
        ):
            if callback_on_step_end is not None:
                timestep = self.scheduler.config.num_train_timesteps * plan.steps[index].time
                returned = callback_on_step_end(self, index, timestep, {"latents": data})
                if (returned or {}).get("latents", data) is not data:
                    raise UserError("must leave the latents as they are", field="callback_on_step_end")
        data = data.clone()  # out of inference mode, so that the caller may work on it
        images = data if output_type == "latent" else _as(output_type, self._decoded(data))
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _decoded(self, data: Tensor) -> Tensor:
        """(B, C, H, W) pixels in [0, 1]."""
        if self.vae is not None:
            shift = float(getattr(self.vae.config, "shift_factor", None) or 0)
            latents = data / float(self.vae.config.scaling_factor) + shift
            data = self.vae.decode(latents.to(self.vae.dtype)).sample.float()
        return (data / 2 + 0.5).clamp(0, 1)


def _listed(labels: int | Sequence[int]) -> Sequence[Any]:
    return [labels] if isinstance(labels, int | str) else labels


def _label(given: Any, most: int) -> int:
    """Read a class label, which is a number; an exported model knows no names of classes."""
    try:
        label = int(given)
    except (TypeError, ValueError):
        label = -1
    if not 0 <= label <= most:
        raise UserError(f"must be whole numbers in [0, {most}], but got {given!r}", field="class_labels")
    return label


def _as(output_type: str, pixels: Tensor) -> Any:
    if output_type == "pt":
        return pixels
    array = pixels.cpu().permute(0, 2, 3, 1).numpy()
    return array if output_type == "np" else DiffusionPipeline.numpy_to_pil(array)


def _step_seed(generator: Generators) -> int:
    """The seed of what stochastic samplers add at every step: the first image's own seed, or drawn."""
    if isinstance(generator, Sequence):
        return generator[0].initial_seed()
    device = None if generator is None else generator.device
    return int(torch.randint(_LARGEST_SEED, (), generator=generator, device=device))


def write_pipeline(folder: Path, *, sampling: Sampling, settings: SamplingSettings = _DEFAULTS) -> bool:
    """Makes `FlexDiTPipeline.from_pretrained(folder)` work on a folder that holds `transformer/` and `scheduler/`.

    Writes `model_index.json`, for a model that reads class labels. A model that reads text gets none: it runs in its
    base's own pipeline, which has the text encoder.

    Args:
        folder: of the model.
        sampling: that the schedule was found with.
        settings: that images were drawn with; guidance and dtype are left to the caller of the pipeline.

    Returns:
        Whether the folder is a pipeline now.
    """
    transformer = json.loads((folder / "transformer" / "config.json").read_text(encoding="utf-8"))
    if architecture_named(transformer["backbone"], field="backbone").pipeline is not None:
        return False
    scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    index = {
        "_class_name": FlexDiTPipeline.__name__,
        "_diffusers_version": diffusers.__version__,
        "guidance_channels": settings.guidance_channels,
        "sampling": sampling.to_dict(),
        "scheduler": ["diffusers", scheduler["_class_name"]],
        "spacing": settings.spacing,
        "transformer": [FlexDiT.__module__, FlexDiT.__name__],
        "vae": [None, None],
    }
    (folder / DiffusionPipeline.config_name).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return True

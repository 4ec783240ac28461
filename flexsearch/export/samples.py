"""Pictures of what a model draws: a plain grid, or rows with captions, beside the dense base, seed below seed."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import diffusers
import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import save_image

from flexsearch.data.images import tiles, to_uint8
from flexsearch.diffusion.sampling import generate, plan_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.diffusion.solvers import check_solver
from flexsearch.errors import UserError, shown
from flexsearch.export.drawable import Drawable, conditions_of, decoder_of, load_dense, load_model
from flexsearch.export.grid_picture import Row, enlargement, grid_picture
from flexsearch.files import replacing
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.plan import Plan, lower
from flexsearch.schedule.sampling import Sampling
from flexsearch.settings import LARGEST

DEFAULT_STEPS = 50
MOST_COLUMNS = 10
MOST_TOKENS = 16_384  # of one batch, so that large images and videos are drawn few at a time


@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """Samples to draw.

    Attributes:
        num: images or videos per seed.
        steps: sampler steps; None takes those of the export, else 50.
        seeds: of the noise.
        guidance: classifier-free guidance; 1 is none.
        prompts: in turn, for a model that reads text.
        classes: in turn, for a model that reads labels; empty takes all.
        beside_dense: whether the dense base draws the same beside an exported model.
    """

    num: int
    steps: int | None = None
    seeds: tuple[int, ...] = (0,)
    guidance: float = 1.0
    prompts: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    beside_dense: bool = False

    def __post_init__(self) -> None:
        if self.num < 1:
            raise UserError(f"must be at least 1, but got {self.num}", field="--num", nearest=1)
        if self.steps is not None and self.steps < 1:
            raise UserError(f"must be at least 1, but got {self.steps}", field="--steps", nearest=1)
        for seed in self.seeds:
            if not 0 <= seed <= LARGEST:
                nearest = min(max(seed, 0), LARGEST)
                raise UserError(f"must be in 0 to 2^63 - 1, but got {shown(seed)}", field="--seeds", nearest=nearest)
        if not math.isfinite(self.guidance):
            raise UserError(f"must be finite, but got {self.guidance}", field="--guidance", nearest=1.0)


def draw(name: str, out: Path, request: SampleRequest) -> str:
    """Draw samples into a picture, and describe it.

    One seed gives a plain grid; several seeds, or the dense base, rows with captions. Images are ten to a row, videos
    one to a row.

    Raises:
        UserError: the model cannot be read or does not serve the request, or `out` is no picture.
    """
    if out.suffix not in (".png", ".jpg"):
        raise UserError(f"must end in .png or .jpg, but got {out.name!r}", field="--out", nearest="samples.png")
    model = load_model(name)
    conditions = conditions_of(model, prompts=request.prompts, classes=request.classes)
    drawn_by = {"model": model}
    if request.beside_dense:
        drawn_by = {"dense": load_dense(model, name=name), **drawn_by}
    settings = SamplingSettings(guidance=request.guidance)
    plans = {
        kind: plan_of(one.base.model, one.base.scheduler, _sampling(one, request), settings)
        for kind, one in drawn_by.items()
    }
    for kind, one in drawn_by.items():
        check_solver(one.base.scheduler, plans[kind])
    decode, num_tokens = decoder_of(model), model.base.model.shape.grid.num_tokens

    def images(kind: str, seed: int) -> Tensor:
        """Draw (num, C, H, W) or (num, C, F, H, W) uint8. Image i has the same noise and condition for every kind."""
        batches = generate(
            drawn_by[kind].base.model,
            drawn_by[kind].base.scheduler,
            plans[kind],
            conditions=conditions,
            num_images=request.num,
            batch=min(request.num, MOST_TOKENS // num_tokens + 1, 50),
            seed=seed,
            settings=settings,
        )
        return torch.cat([to_uint8(decode(batch)).cpu() for batch in batches])

    found = {(seed, kind): images(kind, seed) for seed in request.seeds for kind in drawn_by}
    first = next(iter(found.values()))
    with replacing(out) as temporary:
        if len(found) == 1:
            shown = tiles(first)
            for side in (-2, -1):
                shown = shown.repeat_interleave(enlargement(*first.shape[-2:]), dim=side)
            save_image(shown.float() / 255, temporary, nrow=MOST_COLUMNS, padding=1)
        else:
            captions = {kind: _caption(plan, kind) for kind, plan in plans.items()}
            _captioned(found, captions, request, num_classes=model.base.model.shape.num_classes).save(temporary)
    what = f"{request.num * len(request.seeds)} {'videos' if first.ndim == 5 else 'images'}"
    beside = ", each beside the dense base's" if request.beside_dense else ""
    sampling = plans["model"].candidate.sampling
    solver = type(model.base.scheduler).__name__ if sampling.solver == "base" else sampling.solver
    sampler = ", ".join([f"{sampling.steps} steps of {solver}", *_beyond_steps(sampling)])
    seeds = f"seed{'s' if len(request.seeds) > 1 else ''} {', '.join(map(str, request.seeds))}"
    made = f"{model.base.model.schedule}, {sampler}, {seeds}, diffusers {diffusers.__version__}"
    return f"{out}: {what}{beside}, {made}"


def _sampling(model: Drawable, request: SampleRequest) -> Sampling:
    sampling = model.sampling or Sampling(steps=DEFAULT_STEPS)
    return sampling if request.steps is None else replace(sampling, steps=request.steps)


def _beyond_steps(sampling: Sampling) -> list[str]:
    """The sampling as it is printed, where it is more than a number of steps of the base's scheduler."""
    return [] if sampling == Sampling(steps=sampling.steps) else [str(sampling)]


def _caption(plan: Plan, kind: str) -> tuple[str, ...]:
    sampling, dense = plan.candidate.sampling, DensitySchedule.all_dense(plan.target.shape.num_blocks)
    lines = (kind, *(_beyond_steps(sampling) or [f"{sampling.steps} steps"]))
    if plan.candidate.schedule == dense:
        return lines
    whole = lower(Candidate(schedule=dense, sampling=sampling), plan.target).macs
    return (*lines, f"{100 * plan.macs / whole:.0f} % of MACs")


def _captioned(
    found: dict[tuple[int, str], Tensor],
    captions: dict[str, tuple[str, ...]],
    request: SampleRequest,
    *,
    num_classes: int,
) -> Image.Image:
    """Lay out blocks of rows: for every seed and every ten images, one row per model."""
    names = request.prompts or tuple(f"class {label}" for label in request.classes or range(num_classes))
    is_video = next(iter(found.values())).ndim == 5
    columns = 1 if is_video else _num_columns(request.num, len(names))
    rows = []
    for seed in request.seeds:
        for start in range(0, request.num, columns):
            for number, (kind, lines) in enumerate(captions.items()):
                shown = tiles(found[seed, kind][start : start + columns])
                of_video = (names[start % len(names)],) if is_video else ()
                of_seed = (f"seed {seed}",) if len(request.seeds) > 1 else ()
                rows.append(Row(caption=(*lines, *of_video, *of_seed), images=shown, opens_group=number == 0))
    repeats = not is_video and (columns % len(names) == 0 or request.num <= columns)
    heads = [names[column % len(names)] for column in range(columns)] if repeats else []
    return grid_picture(rows, columns=heads)


def _num_columns(num: int, num_names: int) -> int:
    """Choose at most ten columns, and where possible so many that every column shows one condition."""
    if num_names > MOST_COLUMNS:
        return min(num, MOST_COLUMNS)
    return min(num, num_names * (MOST_COLUMNS // num_names))

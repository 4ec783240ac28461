"""A found sampling as settings of other programs: diffusers' own scheduler and pipeline, and cache-dit.

They are for who takes the answer and leaves. `OUT/diffusers` has them, and what they cannot say. Of cache-dit
(github.com/vipshop/cache-dit) only a static mask of steps over the residual of a run of blocks does what ours does; its
names are those of its `DBCacheConfig`, and nothing here has run it.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flexsearch.export.recipe import Recipe
from flexsearch.models.architectures import architecture_named
from flexsearch.models.settings import base_clock, base_shape
from flexsearch.schedule.gain import NO_GAIN
from flexsearch.schedule.guidance import ALL_ROWS
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.solver import clock_under

FOLDER = "diffusers"
SETTINGS = "settings.json"
_OURS = {"ab2": "Adams-Bashforth of second order with variable steps", "heun": "Heun's method on the base's own grid"}


@dataclass(frozen=True, kw_only=True)
class PlainSettings:
    """What other programs can be told.

    Attributes:
        scheduler: diffusers' class; its configuration lies beside. None where diffusers has no such solver.
        call: arguments of a call of the pipeline.
        cache_dit: arguments of cache-dit's `DBCacheConfig`; None where nothing is reused, or it cannot say the same.
        left_out: what none of this says, a line each.
    """

    scheduler: str | None
    call: dict[str, Any]
    cache_dit: dict[str, Any] | None
    left_out: tuple[str, ...]

    @classmethod
    def of(cls, recipe: Recipe) -> "PlainSettings":
        """Say a recipe's candidate in the words of others."""
        chosen, sampling = recipe.chosen, recipe.chosen.sampling
        shape, clock = base_shape(recipe.base), base_clock(recipe.base, spacing=recipe.sampling.spacing)
        under = clock_under(sampling.solver, clock, shift=sampling.shift, num_tokens=shape.grid.num_tokens)
        architecture = architecture_named(recipe.base.backbone, field="base.backbone")
        call = {"num_inference_steps": sampling.steps, **architecture.guided_call(recipe.sampling.guidance)}
        cache_dit = _cache_dit(sampling, num_blocks=shape.num_blocks) if chosen.schedule.is_dense else None
        channels = recipe.sampling.guidance_channels
        left_out = list(beyond_schedulers(sampling))
        if not chosen.schedule.is_dense:
            left_out.insert(
                0, f"the density schedule {chosen.schedule}: it needs this folder's transformer and FlexDiT"
            )
        if cache_dit is None and sampling.cache.spelled(sampling.num_patterned, num_blocks=shape.num_blocks):
            left_out.append(f"reuse over steps, {sampling.pattern}: cache-dit has no such rule")
        if recipe.sampling.is_guided(shape) and channels is not None and channels < shape.in_channels:
            left_out.append(f"guidance of {channels} of {shape.in_channels} channels")
        is_renormed = recipe.sampling.guidance_renorm
        if recipe.sampling.is_guided(shape) and is_renormed != architecture.drawn_with.get("guidance_renorm", False):
            left_out.append(f"guidance_renorm: {is_renormed}".lower() + ", where its pipeline does otherwise")
        return cls(
            scheduler=None if sampling.solver in _OURS else under.scheduler,
            call=call,
            cache_dit=cache_dit,
            left_out=tuple(left_out),
        )

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return not self.left_out


def beyond_schedulers(sampling: Sampling) -> Iterator[str]:
    """Say, a line each, what neither a scheduler of diffusers nor a pipeline's arguments can do; reuse apart."""
    if sampling.solver in _OURS:
        yield f"the solver {sampling.solver}, {_OURS[sampling.solver]}: diffusers has none"
    if sampling.start != "model":
        known = "mean and covariance" if sampling.start == "gaussian" else "the mean"
        yield f"the first step, from {known} of the data: it costs a model call more without"
    if sampling.guidance != ALL_ROWS:
        yield "guidance at some steps only: pipelines guide at all of them, or have an argument of their own"
    if sampling.gain != NO_GAIN:
        yield "the gain: the base's own weights do not carry it"


def _cache_dit(sampling: Sampling, *, num_blocks: int) -> dict[str, Any] | None:
    """Give what cache-dit calls the same: the last residual of a span is added, at steps that are known beforehand."""
    cache, pattern = sampling.cache, sampling.pattern
    is_alike = cache.reuse == "span" and cache.order == 0 and sampling.start == "model" and cache.first >= 1
    if not is_alike or set(pattern) != {"F", "p"} or cache.first + cache.last >= num_blocks:
        return None
    return {
        "Fn_compute_blocks": cache.first,
        "Bn_compute_blocks": cache.last,
        "max_warmup_steps": 0,
        "num_inference_steps": sampling.steps,
        "steps_computation_mask": [int(letter == "F") for letter in pattern],
        "steps_computation_policy": "static",
    }


def write_plain_settings(folder: Path, plain: PlainSettings, *, scheduler: Any | None) -> None:
    """Write `FOLDER` below a folder: settings, and the configuration of a scheduler of diffusers, if there is one."""
    (folder / FOLDER).mkdir()
    (folder / FOLDER / SETTINGS).write_text(json.dumps(asdict(plain), indent=2) + "\n", encoding="utf-8")
    if scheduler is not None:
        scheduler.save_pretrained(folder / FOLDER)


def plain_text(plain: PlainSettings) -> str:
    """Say the settings in Markdown, for the card."""
    arguments = ", ".join(f"{name}={value!r}" for name, value in plain.call.items())
    lines = ["# pipeline: any pipeline of diffusers with the dense base"]
    if plain.scheduler is not None:
        lines = [f"from diffusers import {plain.scheduler}", "", *lines]
        lines.append(f'pipeline.scheduler = {plain.scheduler}.from_pretrained("{FOLDER}")')
    if plain.cache_dit is not None:
        options = ", ".join(f"{name}={value!r}" for name, value in plain.cache_dit.items())
        lines = ["import cache_dit", *lines]
        lines.append(f"cache_dit.enable_cache(pipeline, cache_config=cache_dit.DBCacheConfig({options}))")
    lines.append(f"pipeline(..., {arguments})")
    code = "\n".join(lines)
    if plain.is_whole:
        said = "This is the same sampling, but for rounding."
    else:
        left = "\n".join(f"- {line}." for line in plain.left_out)
        said = f"That leaves out, so that neither quality nor latency are those measured:\n\n{left}"
    tried = " cache-dit was not run here." if plain.cache_dit is not None else ""
    return f"""The sampling, as far as others can be told it (`{FOLDER}/{SETTINGS}`), in this folder:

```python
{code}
```

{said}{tried}"""

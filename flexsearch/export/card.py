"""The model card: `README.md` of an exported model, with the front matter that the Hugging Face hub reads."""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from flexsearch import __version__
from flexsearch.export.licence import base_licence
from flexsearch.export.plain_settings import PlainSettings, plain_text
from flexsearch.export.recipe import Recipe
from flexsearch.export.sampling_text import sampling_lines
from flexsearch.measurement import Measurement
from flexsearch.models.architectures import architecture_named
from flexsearch.models.settings import BaseSettings, base_shape
from flexsearch.paths import is_path
from flexsearch.report.trial_page import draw_schedule, measurement_table
from flexsearch.schedule.gain import NO_GAIN
from flexsearch.schedule.role import legend

CARD = "README.md"


def write_card(recipe: Recipe, *, made: str, measured: Mapping[str, Iterable[Measurement]]) -> str:
    """Write the card's text.

    Args:
        recipe: of the model.
        made: how its weights came about, in whole sentences.
        measured: measurements with their protocols, by when they were made.
    """
    base, chosen = recipe.base, recipe.chosen
    found_by = recipe.found_by or {}
    source = f"\n\nFound by a search: {_listed(found_by)}." if found_by else ""
    letters = ", ".join(legend([str(chosen.schedule)]))
    drawn = "\n".join(draw_schedule(chosen.schedule, base_shape(base).grid))
    tables = "\n\n".join(
        f"### {when[:1].upper()}{when[1:]}\n\n{measurement_table(found)}" for when, found in measured.items()
    )
    sampling = "\n".join(f"- {line}" for line in sampling_lines(chosen.sampling, recipe.folded))
    return f"""---
{yaml.safe_dump(_front_matter(base), sort_keys=False).strip()}
---

# {chosen.schedule}

A density schedule of the diffusion transformer `{base.checkpoint}`, for {chosen.sampling.steps} sampler steps: in every
band of diffusion time it says which role each block plays and on how many tokens. Digest `{chosen.digest}`.{source}

{made}

## Schedule

Rows are bands of diffusion time (0 is data, 1 is noise), columns are blocks, numbers are tokens.

```
{drawn}
```

{letters}.

## Sampling

{sampling}

## Measurements

{tables or "None were made."}

## Use

In this folder:

```python
{_use(base)}
```

{_pipelines(recipe)}

This needs torch, diffusers, safetensors, numpy, annotated-types and flexsearch (`pip install --no-deps flexsearch`).
With all of flexsearch:

```
flexsearch sample . --out samples.png --dense
flexsearch train recipe.yaml --out trained
```

`scheduler/` is the base's own, `candidate.json` the schedule and its sampling, `recipe.yaml` how to train it further.

## Without flexsearch

{plain_text(PlainSettings.of(recipe))}

## Licence

{_licence_sentence(base)}

Written by flexsearch {__version__}.
"""


def _use(base: BaseSettings) -> str:
    """Write the lines that draw images, in a pipeline of diffusers or in ours."""
    kind, shape = architecture_named(base.backbone, field="base.backbone").pipeline, base_shape(base)
    if kind is None and shape.num_classes:
        vae = (
            f', vae=AutoencoderKL.from_pretrained("{base.checkpoint}", subfolder="vae")'
            if shape.in_channels == 4
            else ""
        )
        lines = [
            *(["from diffusers import AutoencoderKL", ""] if vae else []),
            "from flexsearch.diffusion.pipeline import FlexDiTPipeline",
            "",
            f'pipeline = FlexDiTPipeline.from_pretrained("."{vae})',
            "images = pipeline([0, 1, 2]).images",
        ]
        return "\n".join(lines)
    own = "from flexsearch.models.flexdit import FlexDiT\n\n"
    if kind is None:
        return f'{own}model = FlexDiT.from_pretrained(".")'
    return (
        f"from diffusers import {kind}\n\n{own}"
        f'pipeline = {kind}.from_pretrained("{base.checkpoint}", transformer=FlexDiT.from_pretrained("."))'
    )


def _pipelines(recipe: Recipe) -> str:
    """Say what runs the sampling above, and what runs the schedule alone."""
    sampling, base = recipe.exported.sampling, recipe.base
    gain = "" if sampling.gain == NO_GAIN else ", and without the gain that the weights do not carry"
    alone = f"run the schedule in full at every step, both rows of guidance, by the scheduler that they have{gain}"
    if architecture_named(base.backbone, field="base.backbone").pipeline is None:
        return (
            "`FlexDiTPipeline` samples as above; with `num_inference_steps` it takes other steps and keeps the rest. "
            f"diffusers' own pipelines, given this model as `transformer=`, {alone}."
        )
    steps = f"`num_inference_steps={sampling.steps}`"
    return f"diffusers' pipelines {alone}; give {steps}. `flexsearch sample` samples as above."


def _front_matter(base: BaseSettings) -> dict[str, Any]:
    licence, task = base_licence(base), architecture_named(base.backbone, field="base.backbone").task
    values: dict[str, Any] = (
        {"license": licence}
        if licence
        else {"license": "other", "license_name": "see-base", "license_link": base.checkpoint}
    )
    if not is_path(base.checkpoint):
        values["base_model"] = base.checkpoint
    return {
        **values,
        **({} if task is None else {"pipeline_tag": task}),
        "library_name": "diffusers",
        "tags": ["diffusion-transformer", base.backbone, "token-density-schedule", "flexsearch"],
    }


def _licence_sentence(base: BaseSettings) -> str:
    licence = base_licence(base)
    if licence is None:
        return (
            f"The weights are derived from those of `{base.checkpoint}`, which declares no licence that flexsearch "
            "could read: see there before you use or publish them."
        )
    return f"The weights are derived from those of `{base.checkpoint}` and are under its licence, `{licence}`."


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} `{value}`" for key, value in values.items())

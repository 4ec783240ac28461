"""Quality of a model in training, measured as the search measures trials, so that the numbers compare.

The processes draw the batches in turn and the first one computes the metrics of all features. Batches are the search's
own, so the value does not depend on the number of processes.
"""

import torch
from torch import Tensor

from flexsearch.data.images import to_uint8
from flexsearch.diffusion.sampling import generate, plan_of
from flexsearch.export.processes import Processes
from flexsearch.export.recipe import Recipe
from flexsearch.measurement import Measurement
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.settings import base_clock
from flexsearch.trial.inputs import Inputs
from flexsearch.trial.protocol import with_protocol


def evaluate(model: FlexDiT, recipe: Recipe, inputs: Inputs, processes: Processes) -> list[Measurement]:
    """Measure the recipe's metrics, the objective first; processes but the first get none.

    Leaves the model in eval mode.

    Raises:
        UserError: too few images.
    """
    fid, share = recipe.objectives.quality, processes.share(1)
    drawn = generate(
        model.eval(),
        inputs.base.scheduler,
        plan_of(model, inputs.base.scheduler, recipe.chosen.sampling, recipe.sampling),
        conditions=inputs.conditions,
        num_images=fid.images,
        batch=fid.batch,
        seed=recipe.evaluation_seed,
        settings=recipe.sampling,
        rank=share.rank,
        num_processes=share.num_processes,
    )
    features: list[tuple[int, list[Tensor]]] = []  # of every extractor, by the number of the batch
    for turn, batch in enumerate(drawn):
        images = to_uint8(inputs.decode(batch)).cpu()
        rows = [evaluator.rows(images, batch=fid.batch) for evaluator in inputs.evaluators]
        features.append((turn * share.num_processes + share.rank, rows))
    features = sorted(processes.gathered(features), key=lambda numbered: numbered[0])
    if not processes.is_first:
        return []
    measured = [
        found
        for index, evaluator in enumerate(inputs.evaluators)
        for found in evaluator.measure(torch.cat([rows[index] for _, rows in features]), seed=recipe.evaluation_seed)
    ]
    return with_protocol(
        measured, base_clock(recipe.base, spacing=recipe.sampling.spacing), recipe.sampling, seed=recipe.evaluation_seed
    )

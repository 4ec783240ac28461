"""Measure the paired distance of a trial's samples to the dense base's converged ones: same noise, image by image.

After a short fine-tune the distance to real images says how fast a schedule adapts; how close its samples stay to the
dense base's ranks schedules better by what a long fine-tune makes of them (`experiments/README.md`). All see the same
noise, so few images are enough.
"""

from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from flexsearch.files import replacing
from flexsearch.measurement import Measurement
from flexsearch.objectives.extractors import Extractor
from flexsearch.objectives.features import extract_features
from flexsearch.objectives.quality import Evaluator
from flexsearch.objectives.settings import PAIRED_DISTANCE
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.converged import converged, described
from flexsearch.schedule.density import DensitySchedule
from flexsearch.trial.context import TrialContext
from flexsearch.trial.contract import Progress, TrialOrder
from flexsearch.trial.drawing import draw_all

MOST_IMAGES = 2000


def make_reference(path: Path, context: TrialContext, *, seed: int, report: Callable[[int, int], None]) -> None:
    """Leave features (N, D) of the dense base's converged samples from the noise of `seed` in `path`.

    Args:
        path: safetensors file.
        context: of the run.
        seed: of the trials' noise.
        report: called with (images done, images in total).
    """
    quality, space = context.settings.objectives.quality, context.space
    candidate = Candidate(
        schedule=DensitySchedule.all_dense(space.num_blocks), sampling=converged(context.settings.reference_steps)
    )

    def drawing(progress: Progress) -> bool:
        report(progress.done, progress.total)
        return True

    num = min(quality.images, MOST_IMAGES)
    images = draw_all(context.inputs.base.model, space.plan(candidate), context, drawing, num=num, seed=seed)
    with context.device_lock.shared():
        extractor = _extractor(context)
        features = extract_features(images, extractor=extractor, batch=quality.batch)
    with replacing(path) as temporary:
        save_file({"features": features.contiguous()}, temporary)


def measure_paired_distance(features: Tensor, order: TrialOrder, context: TrialContext) -> Measurement:
    """Measure the paired distance of features (N, D) to the dense base's, which `prepare` has left."""
    settings, extractor = context.settings, _extractor(context)
    reference = load_file(context.shared.dense_features(settings, seed=order.seed))["features"]
    return Measurement(
        name=PAIRED_DISTANCE,
        value=paired_distance(features, reference),
        unit="1",
        protocol={
            "images": min(len(features), len(reference)),
            "extractor": extractor.name,
            "extractor_weights": extractor.digest,
            "from": f"{described(converged(settings.reference_steps))}, from the same noise",
        },
    )


def _extractor(context: TrialContext) -> Extractor:
    evaluator = context.inputs.evaluators[0]
    assert isinstance(evaluator, Evaluator), "a metric of the user's own has no features"
    return evaluator.extractor


def paired_distance(features: Tensor, reference: Tensor) -> float:
    """Compute the root mean squared distance of features to a reference, row by row, over that of unrelated rows of it.

    Args:
        features: (M, D) of some model's samples.
        reference: (N, D) of the dense base's from the same noise; the rows that both have are compared.

    Returns:
        0 for the same samples; 1 is as far as independent samples of the dense base are from each other.
    """
    both, reference = min(len(features), len(reference)), reference.double()
    apart = (features[:both].cpu().double() - reference[:both]).square().sum(dim=1).mean()
    unrelated = 2.0 * reference.var(dim=0).sum()
    return float((apart / unrelated).sqrt())

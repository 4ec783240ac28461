"""Measure the paired distance of a trial's samples to the dense base's at the most steps: same noise, image by image.

After a short fine-tune the distance to real images says how fast a schedule adapts; how close its samples stay to the
dense base's ranks schedules better by what a long fine-tune makes of them (`experiments/density_bench/ranking.py`). The
noise is common to both, so few images are enough.
"""

from pathlib import Path

from filelock import FileLock
from safetensors.torch import load_file, save_file
from torch import Tensor

from flexsearch.files import replacing
from flexsearch.measurement import Measurement
from flexsearch.objectives.features import extract_features
from flexsearch.objectives.settings import PAIRED_DISTANCE
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.sampling import Sampling
from flexsearch.trial.context import TrialContext
from flexsearch.trial.contract import Report, TrialOrder
from flexsearch.trial.drawing import draw_all

MOST_IMAGES = 2000


def is_reference(order: TrialOrder, context: TrialContext) -> bool:
    """Say whether the order's samples are those that others are compared with."""
    return order.candidate.digest == _reference(context).digest


def ensure_reference(order: TrialOrder, context: TrialContext, report: Report) -> None:
    """Draw the dense base's samples, unless its baseline or another trial has left their features.

    Of trials that would do so at once, one draws and the others wait.
    """
    path = _path(order, context)
    if path.exists():
        return
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            base, batch = context.inputs.base.model, context.settings.objectives.quality.batch
            images = draw_all(
                base, context.space.plan(_reference(context)), order, context, report, num=_num_images(context)
            )
            with context.device_lock.shared():
                features = extract_features(images, extractor=context.inputs.evaluators[0].extractor, batch=batch)
            keep_reference(features, order, context)


def keep_reference(features: Tensor, order: TrialOrder, context: TrialContext) -> None:
    """Leave features (N, D) of the dense base's samples for the trials to come."""
    with replacing(_path(order, context)) as path:
        save_file({"features": features[: _num_images(context)].cpu().contiguous()}, path)


def measure_paired_distance(features: Tensor, order: TrialOrder, context: TrialContext) -> Measurement:
    """Measure the paired distance of features (N, D) to the dense base's, which are there already."""
    extractor, reference = context.inputs.evaluators[0].extractor, load_file(_path(order, context))["features"]
    return Measurement(
        name=PAIRED_DISTANCE,
        value=paired_distance(features, reference),
        unit="1",
        protocol={
            "images": min(len(features), len(reference)),
            "extractor": extractor.name,
            "extractor_weights": extractor.digest,
            "from": f"the dense base's samples at {_reference(context).sampling.steps} steps from the same noise",
        },
    )


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


def _reference(context: TrialContext) -> Candidate:
    """Give the dense base at the most sampler steps of the space."""
    return Candidate(
        schedule=DensitySchedule.all_dense(context.space.num_blocks), sampling=Sampling(steps=max(context.space.steps))
    )


def _num_images(context: TrialContext) -> int:
    return min(context.settings.objectives.quality.images, MOST_IMAGES)


def _path(order: TrialOrder, context: TrialContext) -> Path:
    return context.shared.dense_features(context.settings, sampling=_reference(context).sampling, seed=order.seed)

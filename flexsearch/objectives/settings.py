"""Settings of the objectives, quality and latency, and of the limit of memory."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Ge

from flexsearch.errors import UserError
from flexsearch.latency.settings import LatencySettings, MemorySettings
from flexsearch.settings import PositiveCount, settings
from flexsearch.user_function import UserFunction

Metric = Literal["frechet", "kernel", "precision", "recall"]
ImageMetricName = Literal["psnr", "ssim", "lpips", "clip_score", "image_reward"]
"""Metrics of single images (`objectives/image_metrics.py`)."""

_OF_IMAGES: Mapping[str, tuple[str, ...]] = {
    "psnr": ("paired_mse", "psnr"),
    "ssim": ("dssim", "ssim"),
    "lpips": ("lpips",),
    "clip_score": ("inverse_clip_score", "clip_score"),
    "image_reward": ("image_reward",),
}
"""What each measures: what can be minimised first, then the metric itself."""
PAIRED_DISTANCE = "paired_distance"
"""Name of the measurement: the distance of samples to the dense base's, from the same noise."""
SHOWN_BESIDE = ("precision", "recall", PAIRED_DISTANCE, *(names[-1] for names in _OF_IMAGES.values()))
"""Measurements that tables show beside the objectives, where they are measured; all but distances (`paired_distance`,
`lpips`) are better the higher."""
_READS_PROMPTS = ("clip_score", "image_reward")

TRAINING_DATA = "data"
BASE = "base"
"""References by name: the training data, and the dense base's own samples."""

SIDES: Mapping[str, tuple[int, ...]] = {"fashion-cnn": (16, 28, 32)}
"""Sides of the images, in pixels, that an extractor reads, where it does not read all."""

_REPORTED: dict[str, Metric] = {
    "fid": "frechet",
    "kid": "kernel",
    "precision": "precision",
    "recall": "recall",
    "fd_dinov2": "frechet",
}


@settings
class QualitySettings:
    """Distance between samples and real images, in the feature space of a network.

    Attributes:
        images: samples to draw; distances are comparable only at equal numbers.
        extractor: the network whose features are compared: "inception" (its Frechet distance is the Frechet Inception
            Distance proper), "fashion-cnn" (Fashion-MNIST), "dinov2" (FD-DINOv2), or "video" (Frechet Video Distance;
            a TorchScript network given as `weights`).
        distance: what the search minimises. Of sets of images: "frechet" compares mean and covariance, "kernel" is the
            maximum mean discrepancy with a cubic kernel (KID on Inception's features): without bias at small numbers of
            images. Image by image, against the dense base's converged samples from the same noise, without any data:
            "paired" (of features, as `paired_distance`), "psnr", "ssim" (their errors are minimised), "lpips". Against
            the prompt: "clip_score" (its inverse is minimised).
        reference: the real images: a `.npz` file with `mu` and `sigma`, images as `arr_0`, or both, such as ADM's; a
            folder of images; "data", the training data of the run; or "embedded:quickstart". Or "base": as many of the
            dense base's own converged samples, from noise that no trial has (rFID, Flexiffusion, arXiv 2409.17566).
        reference_images: how many of the training data are the reference, where that is "data".
        reference_steps: sampler steps of what the base draws as a reference; None takes twice the most of the space,
            and at least 20.
        report: measured beside the objective on the same samples, and not searched for: "fid", "kid", "precision" and
            "recall" on the objective's features, "fd_dinov2" on those of DINOv2; "paired_distance" on the objective's,
            against the dense base's converged samples; and "psnr", "ssim", "lpips", "clip_score", "image_reward".
            Precision, recall and image_reward are never objectives. Those of sets of features, but "fid", need real
            images, not only their `mu` and `sigma`.
        weights: file with the objective's extractor's weights; None lets it use its own.
        weights_sha256: the SHA-256 of that file, or its beginning; None does not check files of networks without
            published weights.
        batch: images per sampling and feature batch.
        callable: a metric of your own in place of the distance, `package.module:function` or `file.py:function`
            (`objectives/own_metric.py`); extractor and reference are then those of `report` alone.
        direction: of that metric: "minimize", which null means as well, or "maximize".
        clip: the CLIP model of "clip_score", of transformers: a folder, or a name on the Hugging Face hub; None takes
            `openai/clip-vit-base-patch16`.
    """

    images: Annotated[int, Ge(2)] = 5000
    extractor: Literal["inception", "fashion-cnn", "dinov2", "video"] = "inception"
    distance: Literal["frechet", "kernel", "paired", "psnr", "ssim", "lpips", "clip_score"] = "frechet"
    reference: str | None = None
    reference_images: Annotated[int, Ge(2)] = 10_000
    reference_steps: PositiveCount | None = None
    report: tuple[
        Literal[
            "fid",
            "kid",
            "precision",
            "recall",
            "fd_dinov2",
            "paired_distance",
            "psnr",
            "ssim",
            "lpips",
            "clip_score",
            "image_reward",
        ],
        ...,
    ] = ()
    weights: str | None = None
    weights_sha256: str | None = None
    batch: PositiveCount = 100
    callable: str | None = None
    direction: Literal["minimize", "maximize"] | None = None
    clip: str | None = None

    def __post_init__(self) -> None:
        if self.direction is not None and self.function is None:
            raise UserError(
                "goes with objectives.quality.callable alone: distances are minimised",
                field="objectives.quality.direction",
            )
        if self.weights_sha256 is not None and self.weights is None:
            raise UserError(
                f"has no objectives.quality.weights to check, but got {self.weights_sha256!r}",
                field="objectives.quality.weights_sha256",
            )
        if self.images < 4 and {"precision", "recall"} & set(self.report):
            raise UserError(
                f"must be at least 4 for precision and recall, but got {self.images}",
                field="objectives.quality.images",
                nearest=4,
            )

    @property
    def function(self) -> UserFunction | None:
        """The metric of the user's own."""
        return None if self.callable is None else UserFunction(where=self.callable, field="objectives.quality.callable")

    @property
    def compares_sets(self) -> bool:
        """Whether the objective is a distance of sets of features."""
        return self.callable is None and self.distance in ("frechet", "kernel")

    @property
    def image_metrics(self) -> tuple[ImageMetricName, ...]:
        """The metrics of single images, the objective first if it is one; "paired" is of features."""
        named = ("" if self.callable else self.distance, *self.report)
        return tuple(name for name in dict.fromkeys(named) if name in _OF_IMAGES)  # type: ignore[misc]

    @property
    def is_of_images(self) -> bool:
        """Whether the objective is one of them."""
        return self.callable is None and self.distance in _OF_IMAGES

    @property
    def is_paired(self) -> bool:
        """Whether the objective is the paired distance itself."""
        return self.callable is None and self.distance == "paired"

    @property
    def has_paired_distance(self) -> bool:
        """Whether the paired distance is measured, as the objective or beside it."""
        return self.is_paired or PAIRED_DISTANCE in self.report

    @property
    def compares_pairs(self) -> bool:
        """Whether any metric needs the base's own images from the trials' noise."""
        return self.has_paired_distance or any(name not in _READS_PROMPTS for name in self.image_metrics)

    @property
    def reads_prompts(self) -> bool:
        """Whether any metric needs the texts that images were drawn of."""
        return any(name in _READS_PROMPTS for name in self.image_metrics)

    @property
    def names(self) -> tuple[str, ...]:
        """The measurements of quality, the objective first."""
        own: tuple[str, ...] = ()
        if self.function is not None:
            name = self.function.name
            own = (f"inverse_{name}", name) if self.direction == "maximize" else (name,)
        elif self.is_paired:
            own = (PAIRED_DISTANCE,)
        elif self.is_of_images:
            own = _OF_IMAGES[self.distance]
        features = [quality_name(name, metric) for name, metrics in self.metrics.items() for metric in metrics]
        paired = [PAIRED_DISTANCE] if self.has_paired_distance else []
        reported = [*paired, *(_OF_IMAGES[name][-1] for name in self.image_metrics)]
        return (*own, *features, *(name for name in reported if name not in own))

    @property
    def metrics(self) -> dict[str, tuple[Metric, ...]]:
        """The metrics by extractor; the objective is the first of the first, but for a metric of the user's own."""
        found: dict[str, tuple[Metric, ...]] = {}
        if self.callable is None and (self.distance == "frechet" or self.distance == "kernel"):
            found[self.extractor] = (self.distance,)
        for name in (one for one in self.report if one in _REPORTED):
            extractor = "dinov2" if name == "fd_dinov2" else self.extractor
            before = found.get(extractor, ())
            found[extractor] = before if _REPORTED[name] in before else (*before, _REPORTED[name])
        return found


@settings
class ObjectiveSettings:
    """The objectives of a search, quality and latency, which are minimised, and a limit of memory."""

    quality: QualitySettings = field(default_factory=QualitySettings)
    latency: LatencySettings = field(default_factory=LatencySettings)
    memory: MemorySettings = field(default_factory=MemorySettings)

    @property
    def names(self) -> tuple[str, str]:
        """The measurements that the search minimises, in the study's order."""
        return (self.quality.names[0], "latency_ms")

    @property
    def labels(self) -> tuple[str, str]:
        """Their names as they are shown, with the unit where there is one."""
        return (self.quality.names[0], "latency (ms/image)")


_NAMES = {
    ("frechet", "inception"): "fid",
    ("kernel", "inception"): "kid",
    ("frechet", "dinov2"): "fd_dinov2",
    ("frechet", "video"): "fvd",
}


def has_few_images_bias(name: str) -> bool:
    """Tell whether a measurement of few images is too large on average: Frechet distances are, and what a function of
    the user's own is, is not known. Kernel distances and means over images are not."""
    return not (name.startswith("kid") or name == PAIRED_DISTANCE or any(name in one for one in _OF_IMAGES.values()))


def quality_name(extractor: str, metric: Metric = "frechet") -> str:
    """Name a measurement: plain `fid` and `kid` are Inception's alone, `fid_EXTRACTOR` is another's.

    Precision and recall bear the same name on all features; their protocol says on which.
    """
    if metric in ("precision", "recall"):
        return metric
    prefix = "fid" if metric == "frechet" else "kid"
    return _NAMES.get((metric, extractor), f"{prefix}_{extractor.replace('-', '_')}")

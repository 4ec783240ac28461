"""What generated images are compared with: a file's statistics, or the features of real images, or both."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexsearch.errors import UserError
from flexsearch.objectives.extractors import Extractor
from flexsearch.objectives.frechet import FeatureStatistics
from flexsearch.objectives.precision_recall import NEIGHBOURHOOD
from flexsearch.objectives.real_features import RealFeatures, real_features
from flexsearch.objectives.real_images import (
    FIELD,
    FolderImages,
    RealImages,
    Shape,
    TrainingImages,
    check_is_image,
    list_folder,
)
from flexsearch.objectives.reference_file import ReferenceFile, open_reference_file
from flexsearch.objectives.settings import Metric

TRAINING_DATA = "data"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Real images as one extractor sees them.

    Attributes:
        statistics: of their features.
        protocol: identifies what the statistics are of.
        real: the features, where a metric needs them.
    """

    statistics: FeatureStatistics
    protocol: Mapping[str, Any]
    real: RealFeatures | None = None

    @classmethod
    def of_statistics(cls, statistics: FeatureStatistics) -> "Reference":
        return cls(statistics=statistics, protocol={"reference": statistics.digest})

    @classmethod
    def of_images(cls, real: RealFeatures) -> "Reference":
        return cls(statistics=real.statistics, protocol=real.protocol, real=real)


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """A folder of pictures, listed."""

    root: Path
    files: tuple[Path, ...]

    def images(self, shape: Shape) -> FolderImages:
        """Its pictures, brought to `shape` (C, H, W)."""
        check_is_image(shape)
        return FolderImages(root=self.root, files=self.files, shape=shape)


def open_reference(path: Path, *, metrics: Mapping[str, tuple[Metric, ...]]) -> ReferenceFile | ImageFolder:
    """A folder of images or a `.npz` file, checked for what the metrics need.

    Args:
        path: where it is.
        metrics: what is to be measured, by extractor; the objective's extractor first.

    Raises:
        UserError: it is missing, damaged, or has not what the metrics need.
    """
    if path.is_dir():
        return ImageFolder(root=path, files=list_folder(path))
    file = open_reference_file(path)
    own = next(iter(metrics))
    wanting = [
        f"{metric} on {name}" for name, row in metrics.items() for metric in row if (name, metric) != (own, "frechet")
    ]
    if wanting and not file.has_images:
        raise UserError(
            f"has mu and sigma only, but {', '.join(wanting)} must see the real images: give a folder of images, a "
            f"file with them as arr_0, or the word {TRAINING_DATA}",
            field=f"{FIELD}: {path}",
        )
    return file


def reference_for(
    source: ReferenceFile | ImageFolder | TrainingImages,
    *,
    extractor: Extractor,
    metrics: tuple[Metric, ...],
    shape: Callable[[], Shape],
    batch: int,
    is_objective: bool,
) -> Reference:
    """The reference as `extractor` sees it. A file's own statistics are those of the objective's extractor.

    Args:
        source: the real images.
        extractor: the network.
        metrics: what is to be measured on its features.
        shape: gives (C, H, W) of the generated images, or (C, F, H, W) of videos; asked where it is needed.
        batch: images per forward pass.
        is_objective: whether the extractor is the objective's.

    Raises:
        UserError: an image is damaged, or the statistics are another extractor's.
    """
    statistics = None
    if isinstance(source, ReferenceFile) and is_objective and source.statistics is not None:
        statistics = source.statistics
        _check_fit(statistics, extractor, source.path)
        if metrics == ("frechet",):
            return Reference.of_statistics(statistics)
    images: RealImages = source if isinstance(source, TrainingImages) else source.images(shape())
    real = real_features(images, extractor=extractor, batch=batch)
    if len(real.features) <= NEIGHBOURHOOD and {"precision", "recall"} & set(metrics):
        raise UserError(
            f"must be at least {NEIGHBOURHOOD + 1} images for precision and recall, but got {len(real.features)}",
            field=FIELD,
            nearest=NEIGHBOURHOOD + 1,
        )
    if statistics is None:
        return Reference.of_images(real)
    return Reference(statistics=statistics, protocol=Reference.of_statistics(statistics).protocol, real=real)


def _check_fit(statistics: FeatureStatistics, extractor: Extractor, path: Path) -> None:
    found = len(statistics.mean)
    if extractor.num_features not in {None, found}:
        raise UserError(
            f"must hold features of {extractor.name} ({extractor.num_features}), but got {found}",
            field=f"{FIELD}: {path}",
        )

"""What is measured of a candidate, and how."""

from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Ge, Gt

from flexsearch.settings import PositiveCount, settings


@settings
class FidSettings:
    """Frechet distance between samples and reference statistics.

    Attributes:
        images: samples to draw; distances are comparable only at equal numbers.
        extractor: "inception" (the Frechet Inception Distance proper) or "fashion-cnn" (Fashion-MNIST).
        reference: statistics of the real images: a `.npz` file with `mu` and `sigma`, or "embedded:quickstart".
        weights: file with the extractor's weights; None lets it use its own.
        batch: images per sampling and feature batch.
    """

    images: Annotated[int, Ge(2)] = 5000
    extractor: Literal["inception", "fashion-cnn"] = "inception"
    reference: str | None = None
    weights: str | None = None
    batch: PositiveCount = 100


@settings
class LatencySettings:
    """Time to generate one image, all sampler steps and guidance included, in batches.

    Attributes:
        batch: images generated together.
        max_ms: a candidate above this many ms per image is not trained; None sets no limit.
        repeats: timed repetitions, after the warm-up.
        threads: CPU threads while timing; None takes all cores. Has no effect on a GPU.
    """

    batch: PositiveCount = 32
    max_ms: Annotated[float, Gt(0)] | None = None
    repeats: PositiveCount = 5
    threads: PositiveCount | None = None


@settings
class ObjectiveSettings:
    """The objectives of a search; all are minimised."""

    fid: FidSettings = field(default_factory=FidSettings)
    latency: LatencySettings = field(default_factory=LatencySettings)

    @property
    def names(self) -> tuple[str, str]:
        """The measurements that the search minimises, in the study's order."""
        return (fid_name(self.fid.extractor), "latency_ms")


def fid_name(extractor: str) -> str:
    """The objective's name: plain `fid` is Inception's alone."""
    return "fid" if extractor == "inception" else f"fid_{extractor.replace('-', '_')}"

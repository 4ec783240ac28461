"""What is measured of a candidate, and how."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class FidSettings:
    """Frechet distance between samples and reference statistics.

    Attributes:
        images: samples to draw; distances are comparable only at equal numbers.
        extractor: "inception" (the Frechet Inception Distance proper) or "fashion-cnn" (Fashion-MNIST).
        reference: statistics of the real images: a `.npz` file with `mu` and `sigma`, or "embedded:quickstart".
        weights: file with the extractor's weights; None lets it use its own.
        batch: images per sampling and feature batch.
    """

    images: int = 5000
    extractor: str = "inception"
    reference: str | None = None
    weights: str | None = None
    batch: int = 100


@dataclass(frozen=True, kw_only=True)
class LatencySettings:
    """Time to generate one image, all sampler steps and guidance included, in batches.

    Attributes:
        batch: images generated together.
        max_ms: a candidate above this many ms per image is not trained; None sets no limit.
        repeats: timed repetitions, after the warm-up.
        threads: CPU threads while timing; None takes all cores. Has no effect on a GPU.
    """

    batch: int = 32
    max_ms: float | None = None
    repeats: int = 5
    threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class ObjectiveSettings:
    """The objectives of a search; all are minimised."""

    fid: FidSettings = field(default_factory=FidSettings)
    latency: LatencySettings = field(default_factory=LatencySettings)

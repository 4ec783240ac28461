"""Say how latency and memory are measured. Needs no torch."""

from typing import Annotated

from annotated_types import Gt

from flexsearch.settings import PositiveCount, settings

EAGER = "eager_latency_ms"
"""Name of the latency of graphs that are not compiled, where `latency_ms` is that of compiled ones."""

MEMORY = "memory_gb"
"""Name of the peak memory of a batch, which is measured beside latency on a GPU."""


@settings
class MemorySettings:
    """Memory of a GPU that generates a batch of `objectives.latency.batch` images.

    Attributes:
        max_gb: a candidate that needs more than this many GB (10^9 bytes), for its weights and for what a batch adds
            to them at most, is not trained; None sets no limit. The autoencoder and text encoders are not in it.
    """

    max_gb: Annotated[float, Gt(0)] | None = None


@settings
class LatencySettings:
    """Time to generate one image, all sampler steps and guidance included, in batches.

    Attributes:
        batch: images generated together.
        max_ms: a candidate above this many ms per image is not trained; None sets no limit.
        repeats: timed repetitions, after the warm-up.
        threads: CPU threads while timing; None takes all cores. Has no effect on a GPU.
        compile: whether graphs are compiled by `torch.compile` before they are timed, each for about as long as a
            program of that size takes to build. What is not compiled is measured beside it, as `eager_latency_ms`.
        mixed: whether trials of one run may be timed on unlike hardware. A front takes those of one kind alone.
    """

    batch: PositiveCount = 32
    max_ms: Annotated[float, Gt(0)] | None = None
    repeats: PositiveCount = 5
    threads: PositiveCount | None = None
    compile: bool = False
    mixed: bool = False

"""How images were drawn, noted with every measurement of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.measurement import Measurement


def with_protocol(
    measured: Sequence[Measurement], scheduler: Any, sampling: SamplingSettings, *, seed: int
) -> list[Measurement]:
    """The measurements, their protocols completed by sampler, guidance, dtype and seed of the noise."""
    facts = {
        "sampler": type(scheduler).__name__,
        "guidance": sampling.guidance,
        "dtype": sampling.dtype,
        "seed": seed,
    }
    return [replace(found, protocol={**found.protocol, **facts}) for found in measured]

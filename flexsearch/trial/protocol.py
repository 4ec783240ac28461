"""Say how images were drawn, noted with every measurement of them. What was drawn (solver, steps) is the
candidate's."""

from collections.abc import Sequence
from dataclasses import replace

from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.measurement import Measurement
from flexsearch.schedule.clock import Clock


def with_protocol(
    measured: Sequence[Measurement], clock: Clock, sampling: SamplingSettings, *, seed: int
) -> list[Measurement]:
    """Complete the protocols by guidance, dtype, spacing and seed of the noise."""
    facts = {"guidance": sampling.guidance, "dtype": sampling.dtype, **clock.protocol, "seed": seed}
    facts |= {"guidance_renorm": True} if sampling.guidance_renorm else {}
    return [replace(found, protocol={**found.protocol, **facts}) for found in measured]

"""How the search proceeds, and what it may use."""

from dataclasses import dataclass
from typing import Literal

SamplerName = Literal["tpe", "gp", "nsga2", "random", "qmc"]


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """The search.

    Attributes:
        trials: finished trials to reach, baselines included; infeasible, failed and duplicate ones do not count.
        sampler: Optuna's sampler.
        startup: trials drawn at random before the sampler learns.
        seed: of the sampler, of training and of sampling noise.
        baseline_steps: sampler steps at which the dense base is evaluated.
        noise_schedules: schedules whose FID is measured again under other seeds, once per study; 0 measures none.
        noise_seeds: further seeds for each of them.
        max_retries: how often a trial that was interrupted is started again.
    """

    trials: int = 100
    sampler: SamplerName = "tpe"
    startup: int = 10
    seed: int = 0
    baseline_steps: tuple[int, ...] = ()
    noise_schedules: int = 3
    noise_seeds: int = 2
    max_retries: int = 2


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one trial takes: whole or fractional GPUs, and CPU cores."""

    gpu: float = 0.0
    cpu: float = 1.0

"""Settings of the search and of its resources."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt

from flexsearch.settings import Count, PositiveCount, settings
from flexsearch.tracking import TrackerName

AlgorithmName = Literal["tpe", "gp", "nsga2", "random", "qmc"]
SeedingName = Literal["none", "gradient"]
_POOL = 256


@settings
class SearchSettings:
    """How the search proceeds.

    Attributes:
        trials: finished trials to reach, baselines included; infeasible, failed and duplicate ones do not count.
        algorithm: Optuna's sampler.
        startup: trials drawn at random before the sampler learns.
        seed: of the sampler, of training and of sampling noise.
        baseline_steps: sampler steps at which the dense base is evaluated, also under the best solver and gain of the
            space (`baselines.py`); none takes those of the space.
        pool: unseen candidates from which, after `startup`, the one with the largest expected hypervolume improvement
            per second of the device is tried (`acquisition.py`); 1 leaves every choice to the sampler. None takes 256
            with `tpe`, and 1 with the others, which are there to be compared with. Every fourth trial is the sampler's
            own.
        paper_steps: sampler steps at which the paper's schedules are evaluated; none takes the dense base's most.
        fine_tuned_dense: also fine-tune the dense base as every schedule is, as baselines at `baseline_steps`: same
            start, updates, batches and teacher. Says what of a schedule's distance is the training's.
        seed_from: "gradient" learns amounts of density by gradient on the warm start, under several prices of time, and
            tries those schedules before the search chooses (`trial/gradient_seeds.py`); "none" does not.
        noise_schedules: schedules whose quality is measured again under other seeds, once per study; 0 measures none.
        noise_seeds: further seeds for each of them.
        max_retries: how often a trial whose worker was lost is started again; a driver that dies does not count.
        log: also send what every trial measured to "tensorboard" (`RUN/logs`), "wandb" or "mlflow"; a step is a trial.
    """

    trials: PositiveCount = 100
    algorithm: AlgorithmName = "tpe"
    startup: PositiveCount = 10
    seed: Count = 0
    baseline_steps: tuple[PositiveCount, ...] = ()
    pool: PositiveCount | None = None
    paper_steps: tuple[PositiveCount, ...] = ()
    fine_tuned_dense: bool = False
    seed_from: SeedingName = "none"
    noise_schedules: Count = 3
    noise_seeds: PositiveCount = 2
    max_retries: Count = 2
    log: TrackerName = "none"

    @property
    def pool_size(self) -> int:
        """`pool`, or its default for the sampler."""
        return self.pool or (_POOL if self.algorithm == "tpe" else 1)


@settings
class Resources:
    """Resources of one trial: whole or fractional GPUs, and CPU cores."""

    gpu: Annotated[float, Ge(0)] = 0.0
    cpu: Annotated[float, Gt(0)] = 1.0

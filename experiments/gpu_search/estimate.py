"""How long the search takes on a device of a given speed: multiply-accumulates of every stage over an assumed rate.

An estimate, not a measurement: nothing here has run on a GPU. The rate is what eager bf16 training of a transformer of
width 384 may reach on one H100: about an eighth of its matrix rate, as much of the time goes into norms, modulation and
casts, which read and write memory. Launches do not decide at these batches: a forward pass of 512 images is some 600
kernels, a few ms of launching beside some 50 ms of work.
"""

import random
import statistics

from flexsearch.config import RunConfig
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.macs import plan_macs
from flexsearch.study.baselines import baseline_steps

_TRIAL_OVERHEAD_S = 3.0  # copying the model, writing it, SQL
_START_S = 15.0  # of a command
_CONFIRMED = 20  # candidates: a front, what is near it, baselines
_SCHEDULES = 200


def estimate_s(config: RunConfig, *, confirm_images: int, confirm_seeds: int, tflops: float) -> dict[str, float]:
    """Seconds by stage.

    Args:
        config: of the search.
        confirm_images: per candidate and seed.
        confirm_seeds: how many.
        tflops: assumed rate, 2 per multiply-accumulate.
    """
    space, shape, search, trial = config.search_space, config.shape, config.search, config.trial
    dense = plan_macs(space.plan(DensitySchedule.all_dense(shape.num_blocks)), shape)
    drawn = [space.build(space.sample(random.Random(seed))) for seed in range(_SCHEDULES)]
    mean = statistics.fmean(plan_macs(space.plan(one.schedule), shape) for one in drawn)
    steps = statistics.fmean(one.sampler_steps for one in drawn)
    fid, latency, base, warm = config.objectives.quality, config.objectives.latency, config.pretrain, config.warm_start
    assert base is not None
    assert warm is not None
    seconds_per_mac = 2 / (tflops * 1e12)
    timed = (latency.repeats + 1) * latency.batch * (steps * mean + 2 * dense) * seconds_per_mac
    tuned = trial.updates * trial.batch * 3 * mean * seconds_per_mac
    drawn_s = steps * mean * seconds_per_mac
    num_dense = len(baseline_steps(space, search))
    repetitions = search.noise_schedules * search.noise_seeds
    return {
        "base": _START_S + base.updates * base.batch * 3 * dense * seconds_per_mac,
        "warm start": warm.updates * warm.batch * (3 * mean + dense) * seconds_per_mac,
        "search": _START_S
        + trial.updates * trial.batch * dense * seconds_per_mac
        + search.trials * (timed + fid.images * drawn_s + _TRIAL_OVERHEAD_S)
        + (search.trials - num_dense) * tuned
        + repetitions * (tuned + fid.images * drawn_s + _TRIAL_OVERHEAD_S),
        "confirm": _START_S + _CONFIRMED * confirm_seeds * (timed + confirm_images * drawn_s),
    }

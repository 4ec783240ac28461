"""Planned masks of a run: where the full steps of its space lie, from one calibration of the dense base."""

import json
from collections.abc import Callable
from pathlib import Path

from flexsearch.diffusion.calibration import reuse_costs
from flexsearch.files import write_atomically
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.masks import Masks, planned_masks
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.solver import SolverName
from flexsearch.trial.context import TrialContext

CALIBRATION_IMAGES = 32


def make_masks(path: Path, context: TrialContext, *, seed: int, report: Callable[[int, int], None]) -> None:
    """Leave the masks of every number of steps of the space in `path`.

    The dense base draws a few images under the space's best-known kind of solver, of second order if it has one.

    Args:
        path: JSON file.
        context: of the run.
        seed: of the study; the noise is not the trials' own.
        report: called with (numbers of steps done, in total).
    """
    space, inputs = context.space, context.inputs
    solvers: tuple[SolverName, ...] = space.sampling.values_of("solver") or ("base",)
    solver = "ab2" if "ab2" in solvers else solvers[-1]
    (part,) = (one for one in space.sampling.parts if one.name == "cache")
    order = max(part.values_of("order"))
    schedule = DensitySchedule.all_dense(space.num_blocks)
    found: dict[str, dict[str, str]] = {}
    for done, steps in enumerate(space.steps, 1):
        candidate = Candidate(schedule=schedule, sampling=Sampling(steps=steps, solver=solver))
        with context.device_lock.shared():
            costs = reuse_costs(
                inputs.base.model,
                inputs.base.scheduler,
                space.plan(candidate),
                order=order,
                conditions=inputs.conditions,
                num_images=CALIBRATION_IMAGES,
                seed=seed + 1,
                settings=context.settings.sampling,
            )
        found[str(steps)] = {str(num): pattern for num, pattern in planned_masks(costs.tolist()).items()}
        report(done, len(space.steps))
    write_atomically(path, json.dumps(found, indent=2))


def load_masks(path: Path) -> Masks:
    """Read masks that `make_masks` left."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    return {int(steps): {int(num): pattern for num, pattern in row.items()} for steps, row in stored.items()}

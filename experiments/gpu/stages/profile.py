"""The error of composed latency on candidates that it was not fitted on, in the space of the stage `search`."""

import sys
from pathlib import Path

import torch

from flexsearch.config import RunConfig
from flexsearch.data.conditions import random_condition
from flexsearch.latency.image_timer import ImageTimer
from flexsearch.models.untrained import base_or_untrained
from flexsearch.trial.profiles import make_profile
from stages.box import Box, Entry
from stages.search import space_of

sys.path.append(str(Path(__file__).parents[2] / "latency_profile"))
from held_out import both_fits, draw, fits_by_kind, table_of

HELD_OUT = 30
DENSE_STEPS = 400
"""What a round of all plans takes, the reference beside each of them included, in steps of the dense base, about."""


def run(box: Box) -> Entry:
    """Make the profile and test it."""
    config = space_of(box)
    rounds = 1 if box.is_toy else min(max(int(0.8 * box.left / (DENSE_STEPS * _step_s(config, box))) - 1, 2), 9)
    profile = make_profile(
        config.trial_settings,
        others=(),
        rounds=rounds,
        num_held_out=4 if box.is_toy else HELD_OUT,
        report=lambda *_: None,
    )
    table, protocol = table_of(profile, config), profile.protocol
    table.to_csv(box.out / "profile.csv", index=False, float_format="%.5g")
    fits = both_fits(table)
    title = (
        f"{'TOY SIZES, measures nothing; ' if box.is_toy else ''}{len(table)} candidates outside the fit; "
        f"{protocol['device']}, batch {protocol['batch']}, {protocol['dtype']}, {protocol['weights']} weights, "
        f"{rounds} rounds"
    )
    draw(table, fits, title, box.out / "profile.png")
    said = [title, *map(str, fits)]
    return Entry(lines=said, log="\n".join(f"- {one}" for one in [*said, *map(str, fits_by_kind(table))]))


def _step_s(config: RunConfig, box: Box) -> float:
    """Seconds that a batch takes for a step of the dense base."""
    base, _ = base_or_untrained(config.base, device=torch.device(box.device))
    condition = random_condition(base.model.shape, batch=config.objectives.latency.batch, generator=torch.Generator())
    timer = ImageTimer(
        base=base,
        target=config.search_space.target,
        settings=config.objectives.latency,
        sampling=config.sampling,
        condition=condition,
        none=condition,
    )
    _, reference_ms = timer.measure(timer.reference)
    return reference_ms / 1000 / len(timer.reference.steps)

"""The tutorial on density families, done as it says."""

import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import Mock

import pandas as pd
import pytest
from fences import ROOT, run_page
from installed import install

from flexsearch.config import load_config
from flexsearch.errors import UserError
from flexsearch.schedule import DensitySchedule, RoleCost, register_role, roles, segments

PAGE = ROOT / "docs" / "tutorials" / "density_family.md"
SMALL = (
    "search.trials=6",
    "search.noise_schedules=0",
    "search.long_schedules=0",
    "objectives.quality.images=10",
    "objectives.latency.repeats=1",
    "trial.updates=1",
    "space.sampler_steps={choice: [1, 2]}",
)
Call = Callable[[Sequence[str]], None]


def as_installed(flexsearch: Call, folder: Path, *, with_run: bool) -> Call:
    """Commands that find the family through its entry point alone, as a new process does."""

    def command(arguments: Sequence[str]) -> None:
        install(folder)
        sys.modules.pop("flexsearch_skip", None)
        for registry in (segments.FAMILIES, roles.LETTERS, roles.COSTS):
            registry.pop("skip", None)
        if arguments[0] != "run":
            flexsearch(arguments)
        elif with_run:
            flexsearch([*arguments, *(word for override in SMALL for word in ("--set", override))])

    return command


@pytest.mark.usefixtures("registries")
def test_the_tutorial(workplace: Path, flexsearch: Call) -> None:
    """The Python blocks assert what they claim."""
    run_page(PAGE, workplace, flexsearch=as_installed(flexsearch, workplace, with_run=False))
    space = load_config(Path("skip.yaml")).search_space
    drawn = [space.build(space.sample(random.Random(seed))).schedule for seed in range(30)]
    assert all("skip" in schedule.roles and schedule.num_blocks == 12 for schedule in drawn)
    assert len({schedule.digest for schedule in drawn}) > 10


@pytest.mark.slow
@pytest.mark.usefixtures("registries")
def test_the_tutorials_search(workplace: Path, flexsearch: Call) -> None:
    run_page(PAGE, workplace, flexsearch=as_installed(flexsearch, workplace, with_run=True))
    rows = pd.read_csv("runs/skip/front.csv")
    assert len(rows) >= 6
    assert rows["schedule"].str.contains("-", regex=False).any()


@pytest.mark.usefixtures("registries")
def test_a_role_needs_a_letter_of_its_own() -> None:
    cost = RoleCost(macs=Mock(return_value=0), unused_params=Mock(return_value=0))
    with pytest.raises(UserError, match="letter"):
        register_role("mine", letter="D", cost=cost)
    with pytest.raises(UserError, match="paper's"):
        register_role("dense", letter="D", cost=cost)
    register_role("mine", letter="m", cost=cost)
    register_role("mine", letter="m", cost=cost)  # importing a module twice is no error


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(UserError, match=r"segments\[0\].family: must be one of .*'nothing'"):
        DensitySchedule.from_dict({"segments": [{"family": "nothing"}]})

"""The tutorial on density families, done as it says."""

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from fences import ROOT, run_page
from installed import install

from flexsearch.config import load_config
from flexsearch.errors import UserError
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.loading import load_base
from flexsearch.models.roles import ROLE_MODULES, register_role_module, role_module
from flexsearch.models.settings import BaseSettings
from flexsearch.schedule import Dense, DensitySchedule, register_role, role
from flexsearch.schedule.families import FAMILIES, segment
from flexsearch.schedule.role import ROLES

PAGE = ROOT / "docs" / "tutorials" / "density_family.md"
SMALL = (
    "search.trials=6",
    "search.noise_schedules=0",
    "objectives.quality.images=10",
    "objectives.latency.repeats=1",
    "trial.updates=1",
    "space.sampler_steps={choice: [1, 2]}",
)
Call = Callable[[Sequence[str]], None]


def forget() -> None:
    """A new process: nothing of the family is known."""
    sys.modules.pop("flexsearch_skip", None)
    for registry in (segment._FAMILIES, role._ROLES, role_module._MODULES):
        registry.pop("skip", None)  # type: ignore[attr-defined]


def as_installed(flexsearch: Call, folder: Path, *, with_run: bool) -> Call:
    """Commands that find the family through its entry point alone, as a new process does."""

    def command(arguments: Sequence[str]) -> None:
        install(folder)
        forget()
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
def test_a_saved_model_finds_its_family(workplace: Path) -> None:
    """Its entry point brings the computation too, and weights of a role that no model had when the model was made."""
    run_page(PAGE, workplace, flexsearch=lambda _: None)
    install(workplace)
    model = load_base(BaseSettings(checkpoint="embedded:quickstart")).model
    module = replace(ROLE_MODULES["skip"], weights=lambda shape: torch.nn.Linear(shape.width, 1))
    register_role_module(module)
    model.set_schedule(DensitySchedule(segments=(Dense(depth=10), FAMILIES["skip"](depth=2))))  # type: ignore[call-arg]
    model.save_pretrained(workplace / "saved", safe_serialization=True)
    forget()
    with (workplace / "flexsearch_skip.py").open("a") as file:
        file.write("\nimport torch\n")
        file.write("_WEIGHTS = lambda shape: torch.nn.Linear(shape.width, 1)\n")
        file.write('register_role_module(RoleModule(role="skip", compute=compute, weights=_WEIGHTS))\n')
    again = FlexDiT.from_pretrained(workplace / "saved")
    assert again.schedule.to_dict() == model.schedule.to_dict()
    assert torch.equal(again.state_dict()["skip.11.weight"], model.state_dict()["skip.11.weight"])


@pytest.mark.usefixtures("registries")
def test_a_role_needs_a_letter_of_its_own() -> None:
    mine = replace(ROLES["dense"], name="mine")
    with pytest.raises(UserError, match=r"mine.letter: must be one letter that is not in .*'D'"):
        register_role(mine)
    with pytest.raises(UserError, match="one letter"):
        register_role(replace(mine, letter="qi"))
    register_role(replace(mine, letter="q"))
    register_role(replace(mine, letter="q"))  # importing a module twice is no error


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(UserError, match=r"segments\[0\].family: must be one of .*'nothing'"):
        DensitySchedule.from_dict({"segments": [{"family": "nothing"}]})

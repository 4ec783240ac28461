"""Small models that run in milliseconds, and a run directory whose trials take a second.

The process that hands tests to workers loads this file and nothing else, so what takes seconds to import is imported
by the fixture that needs it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from diffusers import DiTTransformer2DModel
    from servers import Postgres
    from torch import nn

    from flexsearch.config import RunConfig
    from flexsearch.models.flexdit import FlexDiT
    from flexsearch.schedule import DensitySchedule
    from flexsearch.trial.contract import TrialOrder
    from flexsearch.trial.settings import TrialSettings

if "PYTEST_XDIST_WORKER" in os.environ:  # one core for each of the workers, and for what they start
    os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # workers have this environment already
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # every process of the tests would compile torch anew
sys.dont_write_bytecode = False


@pytest.fixture(scope="session", autouse=True)
def _nobody_waits_for_the_disk() -> Iterator[None]:
    """No test cuts the power, and of a process that is killed the system has all that it wrote."""

    from sqlalchemy import Engine, event

    def unsynced(connection: Any, _: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            with suppress(sqlite3.Error):  # a file that is no database is told by whoever reads it
                connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", unsynced)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield
    event.remove(Engine, "connect", unsynced)


class _Torchless(MetaPathFinder):
    """Refuses to find torch."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname.partition(".")[0] == "torch":
            raise ImportError("torch is imported by a test that is marked torchless", name=fullname)


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test draws the same; one that is marked `torchless` cannot import torch at all."""
    if request.node.get_closest_marker("torchless"):
        with pytest.MonkeyPatch.context() as patch:
            patch.delitem(sys.modules, "torch", raising=False)
            patch.setattr(sys, "meta_path", [_Torchless(), *sys.meta_path])
            yield
    else:
        import torch

        torch.manual_seed(0)
        yield


@pytest.fixture
def double_precision(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Computes in float64 what a program computes in float32. Sums in another order are equal but for rounding, which
    depends on the CPU and is amplified by what follows: 1e-16 stays far below any tolerance, and 1e-7 does not."""
    import torch

    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def randomised(model: nn.Module) -> nn.Module:
    """Every weight at random, so that no gate is closed and no branch is invisible."""
    import torch

    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.2)
    return model


@pytest.fixture
def tiny_transformer() -> dict[str, Any]:
    """The configuration of a tiny transformer."""
    from builders import TINY

    return dict(TINY)


@pytest.fixture
def tiny_base() -> DiTTransformer2DModel:
    """6 blocks of width 16 on 8x8 tokens, with random weights; every block has an embedder of its own."""
    from builders import TINY
    from diffusers import DiTTransformer2DModel

    base = DiTTransformer2DModel(**TINY)
    for block in base.transformer_blocks:
        block.norm1.emb.class_embedder.dropout_prob = 0.0
    return randomised(base).eval()


@pytest.fixture(scope="session")
def sparse_schedule() -> DensitySchedule:
    """Every role once or more, two stages."""
    from flexsearch.schedule import Dense, DensitySchedule, Pooling, Sdtm, Timetable
    from flexsearch.schedule.timetable import equal_edges

    return DensitySchedule(
        segments=(Pooling(depth=1), Sdtm(sparse=1, dense=0), Dense(depth=2)),
        timetable=Timetable(edges=equal_edges(2), grids=(5, 3)),
    )


@pytest.fixture
def tiny_model(tiny_base: DiTTransformer2DModel, sparse_schedule: DensitySchedule) -> FlexDiT:
    """A FlexDiT with random weights, merges included."""
    from flexsearch.models.flexdit import FlexDiT

    model = FlexDiT.from_base(tiny_base, schedule=sparse_schedule)
    return randomised(model).eval()


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense base on disk, in diffusers' layout, shared by every tiny search. Wide enough that fewer tokens are
    faster: a search does not train what is slower than dense."""
    from builders import TINY
    from diffusers import FlowMatchEulerDiscreteScheduler

    from flexsearch.models.backbones.dit import new_base, untied

    folder = tmp_path_factory.mktemp("base")
    base = randomised(untied(new_base({**TINY, "attention_head_dim": 48, "num_layers": 8}, seed=0)))
    base.save_pretrained(folder / "transformer", safe_serialization=True)
    FlowMatchEulerDiscreteScheduler().save_pretrained(folder / "scheduler")
    return folder


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            _merged(values[key], value)
        else:
            values[key] = value
    return values


@pytest.fixture(scope="session")
def tiny_config(base_folder: Path) -> Callable[..., dict[str, Any]]:
    """The configuration of a search whose trials take about a second; keywords replace parts of it. What it proposes
    does not depend on latencies, which differ from run to run."""

    def config(**changes: Any) -> dict[str, Any]:
        values: dict[str, Any] = {
            "name": "tiny",
            "base": {"checkpoint": str(base_folder)},
            "data": {"name": "quickstart"},
            "space": {
                "segments": [
                    {"family": "pooling", "depth": {"int": [1, 2]}},
                    {"family": "sdtm", "sparse": "rest", "dense": 0},
                    {"family": "dense", "depth": {"int": [1, 2]}},
                ],
                "timetable": {"stages": 2, "clean_grid": {"choice": [3, 4]}, "noise_grid": {"choice": [2, 3]}},
                "sampler_steps": {"choice": [1, 2]},
            },
            "objectives": {
                "quality": {"images": 20, "extractor": "fashion-cnn", "reference": "embedded:quickstart", "batch": 10},
                "latency": {"batch": 8, "repeats": 3, "threads": 1},
            },
            "trial": {"updates": 2, "batch": 4, "learning_rate": 1e-3, "ema_decay": 0.5},
            "search": {"trials": 6, "algorithm": "random", "noise_schedules": 0},
        }
        return _merged(values, changes)

    return config


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of these tests' own, which they may stop; there must be programs of one on this machine."""
    from servers import postgres_programs, postgres_server

    if postgres_programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres_server() as server:
        yield server


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed once and kept for later is kept for this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def settings(tiny_config: Callable[..., dict[str, Any]]) -> Callable[..., TrialSettings]:
    """The settings of the tiny search's trials; keywords replace parts of its configuration."""
    from flexsearch.config import parse_config

    return lambda **changes: parse_config(tiny_config(**changes)).trial_settings


@pytest.fixture(scope="session")
def shared_files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[RunConfig], Path]:
    """Makes what the trials of a configuration share, once for all tests that only need it to be there."""

    from builders import nothing

    from flexsearch.measurement import short_digest
    from flexsearch.trial.prepare import prepare

    made: dict[str, Path] = {}

    def make(config: RunConfig) -> Path:
        key = short_digest(config.to_dict())
        if key not in made:
            run_dir = tmp_path_factory.mktemp("shared")
            config.save(run_dir)
            prepare(run_dir, config.trial_settings, seed=0, report=nothing)
            made[key] = run_dir / "base"
        return made[key]

    return make


@pytest.fixture
def start(
    own_cache: None,
    tmp_path: Path,
    tiny_config: Callable[..., dict[str, Any]],
    shared_files: Callable[[RunConfig], Path],
) -> Callable[..., TrialOrder]:
    """A run directory with its shared files; gives the order for a trial of it. Warm starts, which are cached outside
    of it, and what `is_fresh` are made for this test."""

    from builders import nothing

    from flexsearch.config import parse_config
    from flexsearch.trial.contract import TrialOrder
    from flexsearch.trial.prepare import prepare

    def start_(folder: str = "run", *, is_fresh: bool = False, **changes: Any) -> TrialOrder:
        config, run_dir = parse_config(tiny_config(**changes)), tmp_path / folder
        config.save(run_dir)
        if not is_fresh and "warm_start" not in changes:
            shutil.copytree(shared_files(config), run_dir / "base", dirs_exist_ok=True)
        prepare(run_dir, config.trial_settings, seed=0, report=nothing)
        candidate = config.search_space.build(next(iter(config.search_space.choices())))
        return TrialOrder(number=3, candidate=candidate, run_dir=run_dir, seed=0)

    return start_


@pytest.fixture(scope="session")
def write_recipe(tiny_config: Callable[..., dict[str, Any]], sparse_schedule: DensitySchedule) -> Callable[..., Path]:
    """Writes a recipe into a folder, whose training takes a second; keywords replace parts of it."""

    import yaml

    from flexsearch.export.recipe import BASE, RECIPE

    def write(folder: Path, **training: Any) -> Path:
        config = tiny_config()
        candidate = {**sparse_schedule.to_dict(), "sampler_steps": 2}
        candidate["segments"] = [*candidate["segments"], {"family": "dense", "depth": 2}]  # 8 blocks
        steps = {"updates": 6, "batch": 8, "save_every": 2, "evaluate_every": 3}
        values = {
            **{part: config[part] for part in ("base", "data", "objectives")},
            "candidate": candidate,
            "start": BASE,
            "training": {**steps, "learning_rate": 1e-3, "decay": "linear", "ema_decay": 0.5, **training},
        }
        folder.mkdir(exist_ok=True)
        (folder / RECIPE).write_text(yaml.safe_dump(values))
        return folder

    return write


@pytest.fixture
def recipe_folder(write_recipe: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Writes a recipe into a folder of the test's own."""
    return lambda **training: write_recipe(tmp_path / "recipe", **training)

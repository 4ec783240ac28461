"""A search whose trials are a formula: fast, deterministic, and able to fail as told."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flexsearch.measurement import Measurement
from flexsearch.schedule import Target
from flexsearch.schedule.presets import dit_shape
from flexsearch.space import SearchSpace, parse_space
from flexsearch.study.baselines import baselines_of, waves_of
from flexsearch.study.optuna_study import OptunaStudy
from flexsearch.study.search import Search
from flexsearch.study.settings import SearchSettings
from flexsearch.study.storage import connect, storage_url
from flexsearch.study.store import Store
from flexsearch.trial.contract import Progress, Report, Rung, TrialOrder, TrialResult

OBJECTIVES = ("fid_fashion_cnn", "latency_ms")


def formula(order: TrialOrder, report: Report = lambda _: True) -> TrialResult:
    """More dense blocks and steps are better and slower; so is a better solver, which costs nothing."""
    report(Progress(phase="fine-tune", done=1, total=2))
    roles, sampling = order.candidate.schedule.roles, order.candidate.sampling
    dense = sum(role in ("dense", "recover") for role in roles)
    full = sampling.cache.of(sampling.num_calls).count("F")
    bonus = {"base": 1.0, "unipc": 0.6, "ab2": 0.5}[sampling.solver] * (1.1 - 0.1 * full / sampling.num_calls)
    quality = 40 / (1 + dense) + 30 / sampling.steps * bonus * sampling.gain.stream + 0.01 * order.seed
    latency = full * (1 + dense)
    measurements = {
        name: Measurement(name=name, value=float(value), unit=unit, spread=0.1, protocol={"by": "formula"})
        for name, value, unit in (
            (OBJECTIVES[0], quality, "1"),
            (OBJECTIVES[1], latency, "ms/image"),
            ("macs", 1000 * dense, "MACs/image"),
        )
    }
    return TrialResult(
        state="complete",
        measurements=measurements,
        constraints={"latency_limit_ms": -1.0, "slower_than_dense": 0.0},
        curve=((1, 0.5), (2, 0.25)) if order.fine_tune else (),
        seconds={"fine-tune": 2.0, "sample": 1.0},
    )


@pytest.fixture(scope="session")
def space() -> SearchSpace:
    return parse_space(
        {
            "segments": [
                {"family": "pooling", "depth": {"int": [0, 2]}},
                {"family": "sdtm", "sparse": "rest", "dense": {"choice": [0, 1]}},
                {"family": "dense", "depth": {"int": [1, 3]}},
            ],
            "timetable": {"stages": 2, "clean_grid": {"choice": [3, 4]}, "noise_grid": 2},
            "sampler_steps": {"choice": [2, 4]},
        },
        target=TARGET,
    )


@pytest.fixture
def sampling_space() -> SearchSpace:
    """A space of schedules and of every axis that the dense base has as well."""
    return parse_space(
        {
            "segments": [{"family": "pooling", "depth": {"int": [1, 3]}}, {"family": "dense", "depth": "rest"}],
            "sampler_steps": {"choice": [3, 4, 5, 7, 10]},
            "solver": {"choice": ["base", "unipc", "ab2"]},
            "cache": {"full": {"choice": [1.0, 0.5]}, "first": {"choice": [0, 1]}},
            "gain": {"stream": {"choice": [1.0, 0.95, 0.9]}, "at": 4},
        },
        target=TARGET,
    )


TARGET = Target(shape=dit_shape(num_blocks=8, width=16, side=8))


@pytest.fixture(scope="session")
def make_search(space: SearchSpace) -> Callable[..., Search]:
    """Opens the study of a run directory, or of another database; keywords replace parts of its settings."""

    def make(run_dir: Path, **changes: Any) -> Search:
        run_dir.mkdir(exist_ok=True)
        searched = changes.pop("space", space)
        url = changes.pop("storage", None) or storage_url(run_dir, None)
        keep, acquisition = changes.pop("keep", 1.0), changes.pop("acquisition", None)
        deadline, first = changes.pop("deadline", math.inf), changes.pop("first", ())
        seeds = changes.pop("seeds", ())
        settings = SearchSettings(**{"trials": 12, "startup": 4, "seed": 0, **changes})
        store = Store(connect(url), study="test", seed=settings.seed)
        optuna_study = OptunaStudy(url, name="test", objectives=OBJECTIVES, domains=searched.domains, settings=settings)
        search = Search(
            optuna_study=optuna_study,
            store=store,
            space=searched,
            baselines=baselines_of(searched, settings),
            settings=settings,
            run_dir=run_dir,
            objectives=OBJECTIVES,
            keep=keep,
            acquisition=acquisition,
            waves=waves_of(searched, settings),
            deadline=deadline,
            first=first,
            seeds=seeds,
        )
        search.store, search.optuna_study = store, optuna_study  # for the tests to look at
        return search

    return make


@pytest.fixture
def open_search(make_search: Callable[..., Search], tmp_path: Path) -> Callable[..., Search]:
    """Opens the same study again and again, as a driver does that was killed."""
    return lambda **changes: make_search(**{"run_dir": tmp_path, **changes})


@pytest.fixture(scope="session")
def run_trial() -> Callable[..., TrialResult]:
    return formula


def staged_formula(order: TrialOrder, report: Report) -> TrialResult:
    """The formula with two rungs, at which quality is the final one plus about 5, or plus 20 for one in three
    schedules."""
    result = formula(order)
    if not order.fine_tune:
        return result
    quality = result.measurements[OBJECTIVES[0]].value
    rungs: tuple[Rung, ...] = ()
    for rung in (0, 10):
        late = 20 if int(order.candidate.digest, 16) % 3 == 0 else 5
        rungs = (*rungs, Rung(updates=rung, quality=quality + late - rung / 10))
        found = {name: value for name, value in result.measurements.items() if name != OBJECTIVES[0]}
        so_far = replace(result, state="pruned", measurements=found, rungs=rungs, reason="others were better")
        if not report(Progress(phase="rung", so_far=so_far)):
            return so_far
    return replace(result, rungs=rungs)


@pytest.fixture(scope="session")
def staged() -> Callable[..., TrialResult]:
    return staged_formula

"""What a trial costs outside its own work: deciding, noting and telling, after so many trials; and what commands take.

    uv run python experiments/overhead/run.py --trials 10 200 1000 5000
    uv run python experiments/overhead/run.py --commands 10000
    uv run python experiments/overhead/run.py --ray 10

A study of the quickstart's space on SQLite is filled with finished trials by a formula, then a search goes on with more
of them, which take no time, in a process of its own. Writes `overhead.csv` beside this file: medians of some trials, by
what a trial waits for, their mean (every fourth asks Optuna, which takes longer), the seconds of the processor, which
other programs lengthen less, and the most memory, of a process that has loaded what a driver has: it makes what trials
share. `--commands` fills a run directory instead, and times what is asked of a finished run: `commands.csv`. `--ray`
goes on after so many trials on a Ray of this machine, one at a time: `ray.csv` has the seconds until Ray is there, and
those from one result to the next, the first of which waits for a process that imports torch.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from optuna.distributions import distribution_to_json
from sqlalchemy import MetaData, Table, insert

from flexsearch import __version__
from flexsearch.config import RunConfig, load_config
from flexsearch.measurement import Measurement
from flexsearch.schedule.candidate import Candidate
from flexsearch.space.domains import Value
from flexsearch.space.search_space import SearchSpace
from flexsearch.study.acquisition import Acquisition
from flexsearch.study.baselines import baselines_of, waves_of
from flexsearch.study.events import Ended
from flexsearch.study.optuna_study import OptunaStudy
from flexsearch.study.sampler import distribution_of
from flexsearch.study.search import Search
from flexsearch.study.settings import Resources, SearchSettings
from flexsearch.study.storage import connect, storage_url
from flexsearch.study.store import Store
from flexsearch.trial.contract import Report, TrialOrder, TrialResult

HERE = Path(__file__).parent
MEASURED = 16
"""Trials that are timed: four of them are Optuna's own proposals."""
COMMANDS = ("front", "choose --knee", "show {}", "report {out}")


def result_of(space: SearchSpace, candidate: Candidate) -> TrialResult:
    """More work is slower and better, with some scatter that the digest decides; a fine-tune's curve is long."""
    work = space.plan(candidate).macs / 4.4e8
    scatter = int(candidate.digest, 16) % 1000 / 1000
    values = (
        ("fid_fashion_cnn", 8 + (1 + scatter) / work, "1", None),
        ("latency_ms", 25 * work + 1, "ms/image", 0.1),
        ("macs", work, "MACs/image", None),
    )
    protocol = {"images": 500, "device": "none", "by": "a formula", "seed": 0, "batch": 8, "repeats": 9}
    return TrialResult(
        state="complete",
        measurements={
            name: Measurement(name=name, value=value, unit=unit, spread=spread, protocol=protocol)
            for name, value, unit, spread in values
        },
        curve=() if candidate.schedule.is_dense else tuple((update, 1.0) for update in range(1, 61)),
        seconds={"fine-tune": 5.0, "sample": 2.0},
    )


def quickstart() -> RunConfig:
    return load_config(HERE.parents[1] / "search_spaces" / "quickstart.yaml")


def opened(folder: Path, settings: SearchSettings) -> Search:
    """The search of a run directory."""
    config = quickstart()
    space, url, objectives = config.search_space, storage_url(folder, None), config.trial_settings.objectives.names
    acquisition = Acquisition(
        num=settings.pool_size,
        work=lambda one: space.plan(one).macs,
        predict_ms=lambda _: None,
        objectives=objectives,
    )
    store = Store(connect(url), study=config.name, seed=0)
    optuna_study = OptunaStudy(url, name=config.name, objectives=objectives, domains=space.domains, settings=settings)
    store.save_config(config.to_dict(), version=__version__)
    return Search(
        optuna_study=optuna_study,
        store=store,
        space=space,
        baselines=baselines_of(space, settings),
        settings=settings,
        run_dir=folder,
        objectives=objectives,
        acquisition=None if settings.pool_size == 1 else acquisition,
        waves=waves_of(space, settings),
    )


def orders(search: Search, num: int) -> Iterator[TrialOrder]:
    for _ in range(num):
        order = search.next()
        assert isinstance(order, TrialOrder)
        yield order


def fill(folder: Path, num: int) -> None:
    """Make a run directory with `num` trials: the baselines by a search, the others drawn at random and written as
    rows, as fast as the database takes them."""
    config = quickstart()
    space = config.search_space
    config.save(folder)
    settings = SearchSettings(trials=10**6, algorithm="random", baseline_steps=config.search.baseline_steps)
    search = opened(folder, settings)
    seen: set[str] = set()
    for number in range(num):
        order = next(orders(search, 1))
        search.finished(order.number, result_of(space, order.candidate))
        seen.add(order.candidate.digest)
        assert order.number == number
        if order.baseline is None:
            break
    engine, generator = connect(storage_url(folder, None)), random.Random(0)
    theirs = MetaData()
    theirs.reflect(engine)
    rows: dict[Table, list[dict[str, Any]]] = defaultdict(list)
    while number + 1 < num:
        parameters = space.sample(generator)
        candidate = space.build(parameters)
        if candidate.digest not in seen:
            seen.add(candidate.digest)
            number += 1
            for name, row in _rows(number, parameters, candidate, config):
                rows[theirs.tables[name]].append(row)
    with engine.begin() as connection:
        for table, found in rows.items():
            connection.execute(insert(table), found)
    engine.dispose()


def _rows(
    number: int, parameters: Mapping[str, Value], candidate: Candidate, config: RunConfig
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a complete trial, Optuna's and ours, by table."""
    result, now, text = result_of(config.search_space, candidate), datetime.now(), json.dumps(candidate.to_dict())
    trial = {"trial_id": number + 1, "study_id": 1, "number": number, "state": "COMPLETE"}
    yield "trials", {**trial, "datetime_start": now, "datetime_complete": now}
    own = {"trial_id": number + 1}
    for place, name in enumerate(("fid_fashion_cnn", "latency_ms")):
        value = result.measurements[name].value
        yield "trial_values", {**own, "objective": place, "value": value, "value_type": "FINITE"}
    for name, value in parameters.items():
        kind = distribution_of(config.search_space.domains[name])
        row = {"param_name": name, "param_value": kind.to_internal_repr(value)}
        yield "trial_params", {**own, **row, "distribution_json": distribution_to_json(kind)}
    notes = {"candidate": text, "schedule": str(candidate), "digest": candidate.digest}
    for key, note in notes.items():
        yield "trial_user_attributes", {**own, "key": key, "value_json": json.dumps(note)}
    ours = {"study": config.name, "number": number}
    row = {"digest": candidate.digest, "candidate": text, "state": "complete", "attempts": 1}
    yield "flexsearch_trial", {**ours, **row, "started": now.isoformat(), "ended": now.isoformat()}
    for measured in result.measurements.values():
        row = {**measured.to_dict(), "protocol": json.dumps(dict(measured.protocol), sort_keys=True)}
        yield "flexsearch_measurement", {**ours, "seed": 0, **row}
    for phase, seconds in result.seconds.items():
        row = {"what": f"trials: {phase}", "seconds": seconds, "device": ""}
        yield "flexsearch_cost", {**ours, "seed": 0, **row}
    for update, loss in result.curve:
        yield "flexsearch_curve", {**ours, "update_": update, "loss": loss}


def _load_driver() -> None:
    """Import what a driver makes with what trials share."""
    import flexsearch.study.run
    import flexsearch.trial.life
    import flexsearch.trial.prepare  # noqa: F401


def timed(folder: Path, num: int) -> dict[str, float]:
    """Go on after `num` trials by the default policy."""
    _load_driver()
    config = quickstart()
    search = opened(folder, SearchSettings(trials=10**6, baseline_steps=config.search.baseline_steps))
    deciding, telling, computing = [], [], []
    for _ in range(MEASURED):
        begun, computed = time.perf_counter(), time.process_time()
        order = next(orders(search, 1))
        decided = time.perf_counter()
        computed -= time.process_time()
        result = result_of(config.search_space, order.candidate)
        ended, again = time.perf_counter(), time.process_time()
        search.finished(order.number, result)
        computing.append(time.process_time() - again - computed)
        deciding.append(decided - begun)
        telling.append(time.perf_counter() - ended)
    whole = [a + b for a, b in zip(deciding, telling, strict=True)]
    return {
        "trials": num,
        "decide_s": statistics.median(deciding),
        "tell_s": statistics.median(telling),
        "median_s": statistics.median(whole),
        "mean_s": statistics.mean(whole),
        "cpu_s": statistics.median(computing),
        "most_s": max(whole[1:]),
        "first_s": whole[0],
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def formula(order: TrialOrder, _: Report) -> TrialResult:
    """Run a trial that takes no time."""
    return result_of(quickstart().search_space, order.candidate)


def on_ray(num: int) -> dict[str, float]:
    """Go on after `num` trials on Ray: the first trial's seconds, and the median of the others'."""
    from flexsearch.study.ray_tune import ray_session, run_on_ray

    config, begun = quickstart(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, ray_session(None):
        session_s = time.perf_counter() - begun
        from ray import cloudpickle  # not before the session has set Ray up

        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        alone(fill, Path(folder), num)
        settings = SearchSettings(trials=num + MEASURED, baseline_steps=config.search.baseline_steps)
        search, ends = opened(Path(folder), settings), [time.perf_counter()]
        search.watch(lambda event: ends.append(time.perf_counter()) if isinstance(event, Ended) else None)
        run_on_ray(search, formula, resources=Resources(cpu=1), slots=1)
    fresh, *reused = (after - before for before, after in itertools.pairwise(ends))
    return {
        "trials": num,
        "session_s": session_s,
        "fresh_s": fresh,
        "reused_s": statistics.median(reused),
        "most_s": max(reused),
    }


def command_times(folder: Path, num: int) -> list[dict[str, Any]]:
    """Ask a finished run of `num` trials, three times each, and keep the median."""
    rows = []
    installed = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for command in COMMANDS:
        name, *rest = command.format(num - 1, out=folder / "report.html").split()
        seconds = []
        for _ in range(3):
            begun = time.perf_counter()
            words = [sys.executable, "-m", "flexsearch", name, str(folder), *rest]
            subprocess.run(words, check=True, capture_output=True, env=installed)
            seconds.append(time.perf_counter() - begun)
        rows.append({"command": name, "trials": num, "median_s": statistics.median(seconds)})
    rows[-1]["mb"] = (folder / "report.html").stat().st_size / 1e6
    return rows


def alone(do: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process of its own: memory and caches begin empty."""
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(do, arguments)


def of_each(do: Callable[..., Any], nums: list[int]) -> Iterator[Any]:
    for num in nums:
        with tempfile.TemporaryDirectory() as folder:
            alone(fill, Path(folder), num)
            yield alone(do, Path(folder), num)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="*", default=[])
    parser.add_argument("--commands", type=int, nargs="*", default=[])
    parser.add_argument("--ray", type=int, nargs="*", default=[])
    arguments = parser.parse_args()
    tables = {
        "overhead.csv": list(of_each(timed, arguments.trials)),
        "commands.csv": [row for rows in of_each(command_times, arguments.commands) for row in rows],
        "ray.csv": [on_ray(num) for num in arguments.ray],
    }
    for name, rows in tables.items():
        if rows:
            table = pd.DataFrame(rows)
            table.to_csv(HERE / name, index=False, float_format="%.4g")
            print(table.to_string(index=False, float_format="%.3f"))

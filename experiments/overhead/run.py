"""What a trial costs outside its own work: deciding, noting and telling, after so many trials; and what commands take.

    uv run python experiments/overhead/run.py --trials 10 200 1000 5000
    uv run python experiments/overhead/run.py --commands 10000

A study of the quickstart's space on SQLite is filled with finished trials by a formula, then a search goes on with more
of them, which take no time, in a process of its own. Writes `overhead.csv` beside this file: the median of some trials,
by what a trial waits for, and the memory of the process. `--commands` fills a run directory instead, and times what is
asked of a finished run: `commands.csv`.
"""

import argparse
import multiprocessing
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from sqlalchemy import Engine, event

from flexsearch import __version__
from flexsearch.config import RunConfig, load_config
from flexsearch.measurement import Measurement
from flexsearch.schedule.candidate import Candidate
from flexsearch.space.search_space import SearchSpace
from flexsearch.study.acquisition import Acquisition
from flexsearch.study.baselines import baselines_of, waves_of
from flexsearch.study.optuna_study import OptunaStudy
from flexsearch.study.search import Search
from flexsearch.study.settings import SearchSettings
from flexsearch.study.storage import connect, storage_url
from flexsearch.study.store import Store
from flexsearch.trial.contract import TrialOrder, TrialResult

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


def opened(folder: Path, settings: SearchSettings, *, waits_for_disk: bool = True) -> Search:
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
    if not waits_for_disk:
        for engine in (store.engine, optuna_study.engine):
            _hurry(engine)
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


def _hurry(engine: Engine) -> None:
    """Do not wait for the disk."""
    engine.dispose()
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))


def orders(search: Search, num: int) -> Iterator[TrialOrder]:
    for _ in range(num):
        order = search.next()
        assert isinstance(order, TrialOrder)
        yield order


def fill(folder: Path, num: int) -> None:
    """Make a run directory with `num` trials, drawn at random."""
    config = quickstart()
    config.save(folder)
    settings = SearchSettings(trials=num, algorithm="random", baseline_steps=config.search.baseline_steps)
    search = opened(folder, settings, waits_for_disk=False)
    for order in orders(search, num):
        search.finished(order.number, result_of(config.search_space, order.candidate))


def timed(folder: Path, num: int) -> dict[str, float]:
    """Go on after `num` trials by the default policy."""
    config = quickstart()
    search = opened(folder, SearchSettings(trials=10**6, baseline_steps=config.search.baseline_steps))
    deciding, telling = [], []
    for _ in range(MEASURED):
        begun = time.perf_counter()
        order = next(orders(search, 1))
        decided = time.perf_counter()
        result = result_of(config.search_space, order.candidate)
        ended = time.perf_counter()
        search.finished(order.number, result)
        deciding.append(decided - begun)
        telling.append(time.perf_counter() - ended)
    whole = [a + b for a, b in zip(deciding, telling, strict=True)]
    return {
        "trials": num,
        "decide_s": statistics.median(deciding),
        "tell_s": statistics.median(telling),
        "median_s": statistics.median(whole),
        "most_s": max(whole[1:]),
        "first_s": whole[0],
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def command_times(folder: Path, num: int) -> list[dict[str, Any]]:
    """Ask a finished run of `num` trials, three times each, and keep the median."""
    rows = []
    for command in COMMANDS:
        name, *rest = command.format(num - 1, out=folder / "report.html").split()
        seconds = []
        for _ in range(3):
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-m", "flexsearch", name, folder, *rest], check=True, capture_output=True)
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
    arguments = parser.parse_args()
    tables = {
        "overhead.csv": list(of_each(timed, arguments.trials)),
        "commands.csv": [row for rows in of_each(command_times, arguments.commands) for row in rows],
    }
    for name, rows in tables.items():
        if rows:
            table = pd.DataFrame(rows)
            table.to_csv(HERE / name, index=False, float_format="%.4g")
            print(table.to_string(index=False, float_format="%.3f"))

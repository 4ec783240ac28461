"""What a trial costs outside its own work: deciding, noting and telling, after so many trials.

    uv run python experiments/overhead/run.py --trials 10 200 1000 5000

A study of the quickstart's space on SQLite is filled with finished trials by a formula, then a search goes on with more
of them, which take no time. Writes `overhead.csv` beside this file: the median of some trials, by what a trial waits
for.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from flexsearch.config import load_config
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
OBJECTIVES = ("fid_fashion_cnn", "latency_ms")
MEASURED = 8
"""Trials that are timed: two of them are Optuna's own proposals."""


def result_of(space: SearchSpace, candidate: Candidate) -> TrialResult:
    """More work is slower and better, with some scatter that the digest decides; a fine-tune's curve is long."""
    work = space.plan(candidate).macs / 4.4e8
    scatter = int(candidate.digest, 16) % 1000 / 1000
    values = {"fid_fashion_cnn": 8 + (1 + scatter) / work, "latency_ms": 25 * work + 1, "macs": work}
    return TrialResult(
        state="complete",
        measurements={name: Measurement(name=name, value=value, unit="1") for name, value in values.items()},
        curve=() if candidate.schedule.is_dense else tuple((update, 1.0) for update in range(1, 61)),
        seconds={"fine-tune": 5.0, "sample": 2.0},
    )


def filled(folder: Path, num: int) -> tuple[Search, SearchSpace]:
    """A search that goes on after `num` trials."""
    config = load_config(HERE.parents[1] / "search_spaces" / "quickstart.yaml")
    space, url = config.search_space, storage_url(folder, None)
    settings = SearchSettings(trials=10**6, baseline_steps=config.search.baseline_steps)
    acquisition = Acquisition(
        num=settings.pool_size,
        work=lambda one: space.plan(one).macs,
        predict_ms=lambda _: None,
        objectives=OBJECTIVES,
    )

    def search(acquisition: Acquisition | None, algorithm_settings: SearchSettings) -> Search:
        return Search(
            optuna_study=OptunaStudy(
                url, name="s", objectives=OBJECTIVES, domains=space.domains, settings=algorithm_settings
            ),
            store=Store(connect(url), study="s", seed=0),
            space=space,
            baselines=baselines_of(space, settings),
            settings=algorithm_settings,
            run_dir=folder,
            objectives=OBJECTIVES,
            acquisition=acquisition,
            waves=waves_of(space, settings),
        )

    filling = search(None, SearchSettings(trials=num, algorithm="random", baseline_steps=settings.baseline_steps))
    for order in orders(filling, num):
        filling.finished(order.number, result_of(space, order.candidate))
    return search(acquisition, settings), space


def orders(search: Search, num: int) -> Iterator[TrialOrder]:
    for _ in range(num):
        order = search.next()
        assert isinstance(order, TrialOrder)
        yield order


def timed(num: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        search, space = filled(Path(folder), num)
        deciding, telling = [], []
        for _ in range(MEASURED):
            begun = time.perf_counter()
            order = next(orders(search, 1))
            decided = time.perf_counter()
            result = result_of(space, order.candidate)
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
        "most_s": max(whole),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 200, 1000, 5000])
    arguments = parser.parse_args()
    table = pd.DataFrame([timed(num) for num in arguments.trials])
    table.to_csv(HERE / "overhead.csv", index=False, float_format="%.4g")
    print(table.to_string(index=False, float_format="%.3f"))

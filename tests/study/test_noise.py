"""The noise: what seeds change, with and without what they change for all schedules alike."""

from typing import Any

import numpy as np
import pytest
from builders import Call

from flexsearch.study.executor import run_locally
from flexsearch.study.noise import noise_of
from flexsearch.study.repeats import OrderQueue, repetitions, schedules_to_repeat


def test_known_noise_is_recovered_and_a_shift_that_all_share_is_not_paired() -> None:
    noise = noise_of({number: {seed: 10.0 * number + 3.0 * seed for seed in range(3)} for number in range(4)})
    assert (noise.paired, noise.unpaired) == (pytest.approx(0, abs=1e-9), pytest.approx(3.0))
    assert (noise.num_schedules, noise.num_seeds) == (4, 3)
    generator = np.random.default_rng(0)
    found = []
    for _ in range(300):
        common = generator.normal(0, 2.0, 3)
        table = {n: {s: 7.0 * n + common[s] + generator.normal(0, 0.5) for s in range(3)} for n in range(4)}
        noise = noise_of(table)
        found.append((noise.paired**2, noise.unpaired**2))
    paired, unpaired = np.sqrt(np.mean(found, axis=0))
    assert paired == pytest.approx(0.5, rel=0.05)
    assert unpaired == pytest.approx(np.hypot(2.0, 0.5), rel=0.08)


@pytest.mark.parametrize("table", [{}, {1: {0: 1.0, 1: 2.0}}, {1: {0: 1.0}, 2: {0: 2.0}}, {1: {0: 1.0}, 2: {1: 2.0}}])
def test_too_little_to_tell(table: dict[int, dict[int, float]]) -> None:
    assert noise_of(table) is None


def test_repetitions_are_measured_once(open_search: Call, run_trial: Any, tmp_path: Any) -> None:
    search = open_search(trials=12)
    run_locally(search, run_trial)
    chosen = schedules_to_repeat(search.store.trials(), objective="fid_fashion_cnn", num=3)
    assert len(chosen) == 3
    assert all(record.num_updates for record in chosen)

    def missing() -> OrderQueue:
        return repetitions(search.store, chosen, seeds=[1, 2], run_dir=tmp_path, objective="fid_fashion_cnn")

    ran: list[tuple[int, int]] = []

    def counts(order: Any, report: Any) -> Any:
        assert order.kind == "repeat"
        ran.append((order.number, order.seed))
        return run_trial(order, report)

    assert len(missing()) == 6
    assert run_locally(missing(), counts).reason == "the noise is measured"
    assert sorted(ran) == sorted((record.number, seed) for record in chosen for seed in (1, 2))
    assert len(missing()) == 0
    noise = noise_of(search.store.repetitions("fid_fashion_cnn"))
    assert (noise.paired, noise.unpaired) == (pytest.approx(0, abs=1e-9), pytest.approx(0.01))
    assert [record.number for record in search.store.trials()] == list(range(len(search.store.trials())))

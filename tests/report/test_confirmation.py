"""The second measurement, made of known numbers: intervals, probabilities, verdicts, and where they are shown."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_run import LATENCY, QUALITY, measured, tiny_store

from flexsearch.measurement import Measurement
from flexsearch.objectives.fid_infinity import BLOCKS, block_name
from flexsearch.report.confirmation import Confirmation, confirmation_of
from flexsearch.report.front import front_of
from flexsearch.report.near_front import near_front, strongest_baselines, to_confirm
from flexsearch.report.plot import plot_front
from flexsearch.report.series import bars, series_of
from flexsearch.report.student import half_width
from flexsearch.report.table import confirmed_lines, front_frame, front_table, summary_lines
from flexsearch.study.store import Store
from flexsearch.trial.contract import TrialResult

NAMES = (QUALITY, LATENCY)
IMAGES = 1000
BIAS = 2000.0  # of a distance of n images: BIAS / n


def remeasured(
    truth: Mapping[int, tuple[float, float]],
    generator: np.random.Generator,
    *,
    seeds: int = 3,
    common: float = 0.03,
    paired: float = 0.01,
    latency: float = 0.01,
    name: str = NAMES[0],
    device: str = "d",
) -> dict[int, dict[int, dict[str, Measurement]]]:
    """Evidence by trial and seed: quarters with noise, halves and wholes their means, less of the bias."""

    def found(name: str, value: float, unit: str) -> Measurement:
        return Measurement(name=name, value=value, unit=unit, protocol={"seed": seed, "device": device})

    evidence: dict[int, dict[int, dict[str, Measurement]]] = {number: {} for number in truth}
    most = max(BLOCKS)
    for seed in range(seeds):
        shared = generator.normal(0, common, most)
        for number, (quality, ms) in truth.items():
            quarters = quality + np.sqrt(quality * 20) * (shared + generator.normal(0, paired, most))
            rows = {NAMES[1]: found(NAMES[1], ms * (1 + generator.normal(0, latency)), "ms/image")}
            for num in BLOCKS:
                for index, block in enumerate(np.split(quarters, num)):
                    key = block_name(name, index, num)
                    rows[key] = found(key, block.mean() + BIAS * num / IMAGES, "1")
            evidence[number][seed] = rows
    return evidence


def confirm(truth: Mapping[int, tuple[float, float]], seed: int = 0, **noise: Any) -> Confirmation:
    found = confirmation_of({IMAGES: remeasured(truth, np.random.default_rng(seed), **noise)}, NAMES)
    assert found is not None
    return found


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    truth = {number: (10.0 + 5 * number, 20.0 - number) for number in range(6)}
    held: dict[str, list[bool]] = {"quality": [], "at_infinity": [], "latency": []}
    for case in range(60):
        found = confirmation_of({IMAGES: remeasured(truth, np.random.default_rng(case))}, NAMES)
        assert found is not None
        for number, point in found.points.items():
            assert point.at_infinity is not None
            held["quality"].append(point.quality.holds(truth[number][0] + BIAS / IMAGES))
            held["at_infinity"].append(point.at_infinity.holds(truth[number][0]))
            held["latency"].append(point.latency.holds(truth[number][1]))
    assert all(0.90 <= np.mean(rows) <= 0.99 for rows in held.values()), {k: np.mean(v) for k, v in held.items()}


def test_the_probability_of_being_on_the_front() -> None:
    found = confirm({1: (10.0, 10.0), 2: (20.0, 5.0), 3: (20.0, 12.0), 4: (30.0, 2.0)})
    assert min(found.points[1].front_probability, found.points[2].front_probability) > 0.99
    assert found.points[3].front_probability < 0.01
    assert [found.points[number].verdict == "confirmed" for number in (1, 2, 3, 4)] == [True, True, False, True]
    assert found.points[3].verdict == "not confirmed"


def test_equal_points_share_the_front() -> None:
    """Of two equal points each wins in both with a probability of a quarter: then the other is not on the front."""
    shares = []
    for seed in range(12):
        found = confirm({1: (10.0, 10.0), 2: (10.0, 10.0)}, seed=seed)
        shares += [point.front_probability for point in found.points.values()]
    assert np.mean(shares) == pytest.approx(0.75, abs=0.1)


def test_noise_that_all_share_decides_nothing() -> None:
    close = {1: (10.0, 10.0), 2: (10.5, 11.0)}
    found = confirm(close, common=0.2, paired=0.001, latency=0.001)
    assert found.points[1].quality.holds(found.points[2].quality.value)
    assert found.points[2].verdict == "not confirmed"


def test_kernel_distances_are_not_extrapolated() -> None:
    evidence = {IMAGES: remeasured({1: (1e-3, 10.0), 2: (0.0, 11.0)}, np.random.default_rng(0), name="kid")}
    found = confirmation_of(evidence, ("kid", NAMES[1]))
    assert found.points[2].quality.half_width == pytest.approx(found.points[1].quality.half_width)
    assert all(point.at_infinity is None for point in found.points.values())


def test_only_what_was_measured_alike_is_compared() -> None:
    generator = np.random.default_rng(0)
    truth = {1: (10.0, 10.0), 2: (12.0, 8.0), 3: (14.0, 6.0)}
    evidence = remeasured(truth, generator)
    del evidence[2][2]
    del evidence[3][1], evidence[3][2]
    found = confirmation_of({IMAGES: evidence, 4 * IMAGES: {}}, NAMES)
    assert set(found.points) == {1, 2}
    assert found.seeds == (0, 1)
    evidence[2] = remeasured({2: truth[2]}, generator, device="another")[2]
    alone = confirmation_of({IMAGES: evidence}, NAMES)
    assert (set(alone.points), alone.left_out, found.left_out) == ({1}, 3, 0)
    assert confirmation_of({IMAGES: {1: {0: evidence[1][0]}}}, NAMES) is None
    assert confirmation_of({}, NAMES) is None


TRIALS = {0: (10.0, 20.0), 1: (25.0, 5.0), 2: (12.0, 7.5), 3: (12.8, 8.0), 4: (14.0, 9.0), 5: (30.0, 2.0)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two dense baselines and four searched trials, 2 and 5 on the front; paired noise 0.5, so that 3 is near it."""
    dense = [(*TRIALS[number], 10 - number) for number in (0, 1)]
    store = tiny_store(tmp_path, [TRIALS[number] for number in range(2, 6)], dense=dense)
    for number, shift in ((2, 0.5**0.5), (3, -(0.5**0.5)), (1, 0.0)):
        store.record(number, measured(TRIALS[number][0] + shift, TRIALS[number][1]), seed=1)
    return store


def test_what_is_measured_again(store: Store) -> None:
    front = front_of(store, NAMES)
    assert front.noise.paired == pytest.approx(0.5)
    assert [record.number for record in near_front(front)] == [3]
    assert [record.number for record in to_confirm(front)] == [0, 1, 2, 3, 5]
    assert [record.number for record in to_confirm(front, top=1)] == [0, 1, 2]
    assert [record.number for record in to_confirm(front, top=2)] == [0, 1, 2, 5]


def test_baselines_that_others_beat_are_not_measured_again(tmp_path: Path) -> None:
    """But for the dense base at the most steps, and what noise may have put behind."""
    dense = [(12.0, 20.0, 10), (25.0, 5.0, 2), (12.4, 10.0, 5), (13.1, 11.0, 6), (13.9, 12.0, 7)]
    store = tiny_store(tmp_path, [TRIALS[2]], dense=dense)
    assert [record.number for record in strongest_baselines(front_of(store, NAMES))] == [0, 1, 2]
    for number, shift in ((5, 0.5**0.5), (2, -(0.5**0.5)), (1, 0.0)):
        quality, latency = front_of(store, NAMES).values(store.trials()[number])
        store.record(number, measured(quality + shift, latency), seed=1)
    front = front_of(store, NAMES)
    assert front.noise.paired == pytest.approx(0.5)
    assert [record.number for record in strongest_baselines(front)] == [0, 1, 2, 3]


def test_a_confirmed_front_is_shown_everywhere(store: Store, tmp_path: Path) -> None:
    before = front_of(store, NAMES)
    assert before.confirmation is None
    assert all("confirmed" not in row for row in before.to_dict()["front"])
    truth = {number: values for number, values in TRIALS.items() if number != 4}
    for number, seeds in remeasured(truth, np.random.default_rng(0)).items():
        for seed, found in seeds.items():
            again = TrialResult(state="complete", measurements=found, seconds={"sample": 2.0})
            for _ in range(2):
                store.record_confirmation(number, again, seed=10_000 + seed, images=IMAGES)
    front = front_of(store, NAMES)
    assert front.points == before.points
    assert {cost.what: cost.seconds for cost in front.costs}[f"confirm: sample, {IMAGES} images"] == 2.0 * 15
    assert any("for the confirmation" in line for line in summary_lines(front))
    assert any(line.startswith("Spread of latency_ms: 0.5% of it") for line in summary_lines(before))
    confirmation = front.confirmation
    assert confirmation is not None
    told = json.loads(json.dumps(front.to_dict()))
    rows = {row["trial"]: row for row in told["front"] + told["baselines"]}
    assert rows[2]["confirmed"]["verdict"] == "confirmed"
    assert rows[2]["values"] == {NAMES[0]: 12.0, NAMES[1]: 7.5}
    assert [row["trial"] for row in told["confirmation"]["points"]] == [5, 1, 2, 3, 0]
    assert len(front_table(front).rows) == 5
    line, left_out = confirmed_lines(front)
    assert left_out.startswith("1 trials were not measured again")
    assert line.startswith("Of 2 searched points of the front that were measured again, 2 confirmed, 0 within noise")
    partly = replace(front, confirmation=replace(confirmation, left_out=3))
    assert "Left out: 3 measurements under another protocol than most." in confirmed_lines(partly)
    front_frame(front).to_csv(tmp_path / "front.csv", index=False)
    frame = pd.read_csv(tmp_path / "front.csv").set_index("trial")
    assert frame.loc[2, "verdict"] == "confirmed"
    assert frame.loc[2, "confirmed_quality_low"] < frame.loc[2, "confirmed_quality"]
    assert pd.isna(frame.loc[4, "verdict"])
    plot_front(front, tmp_path / "front.png")
    plot_front(before, tmp_path / "before.png")
    assert (tmp_path / "front.png").read_bytes() != (tmp_path / "before.png").read_bytes()
    known, series = front.best_known.by_number, {one.key: one for one in series_of(front)}
    assert [one.record.number for one in series["front"].points] == [5, 2]
    assert bars(known[2]) == (
        pytest.approx(1.96 * known[2].latency_sd * known[2].latency_ms, rel=1e-4),
        pytest.approx(half_width(known[2].distance_sd, front.confirmation.freedom)),
    )
    assert [one.record.number for one in series["other"].points] == [3]
    assert not series["once"].points, "of other images"


def test_once_confirmed_no_value_of_the_search_is_beside_them(store: Store) -> None:
    truth = {0: (10.0, 20.0), 1: (25.0, 5.0), 2: (12.0, 7.5), 3: (12.8, 8.0)}
    for number, seeds in remeasured(truth, np.random.default_rng(0)).items():
        for seed, found in seeds.items():
            result = TrialResult(state="complete", measurements=found)
            store.record_confirmation(number, result, seed=10_000 + seed, images=IMAGES)
    front = front_of(store, NAMES)
    rows = [row for section in front.sections for row in section]
    assert {row.record.number for row in rows} == set(truth)
    assert front.num_unconfirmed == 2
    assert all(row.printed["quality"] == f"{row.confirmed.at_infinity.value:.2f}" for row in rows)
    left_out = front.row(front.complete[5])
    assert (left_out.speedup, left_out.is_on_front) == (None, True)
    assert not front.is_biased
    noise = [line for line in summary_lines(front) if "noise" in line.lower()]
    assert sum(line.startswith("Noise:") for line in noise) == 1
    assert f"below {front.best_known.quality_margin:.2g} may be noise" in " ".join(noise)


def test_the_paired_noise_of_what_is_extrapolated() -> None:
    """What all share is not in it; what is left is that of the mean over seeds."""
    truth = {number: (20.0, 10.0 + number) for number in range(6)}
    told, ends = [], []
    for case in range(40):
        found = confirm(truth, seed=case, common=0.2, paired=0.01)
        values = np.array([point.at_infinity.value for point in found.points.values()])
        told.append(np.mean([point.distance_sd for point in found.points.values()]))
        ends.append(np.var(values, ddof=1))
    assert np.mean(told) == pytest.approx(np.sqrt(np.mean(ends)), rel=0.15)

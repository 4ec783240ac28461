"""Choosing among unseen candidates: what is expected of them, and that a search that chooses loses nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flexsearch.measurement import Measurement
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.plan import Target
from flexsearch.schedule.presets import dit_shape
from flexsearch.space.search_space import SearchSpace, parse_space
from flexsearch.study.acquisition import LEAST_TRIALS, Acquisition
from flexsearch.study.executor import run_locally
from flexsearch.study.pareto import expected_gain, hypervolume, reference_point
from flexsearch.study.quality_model import QualityModel, features
from flexsearch.study.settings import SearchSettings
from flexsearch.study.store import TrialRecord
from flexsearch.trial.contract import Report, Rung, TrialOrder, TrialResult

TARGET = Target(shape=dit_shape(num_blocks=8, width=16, side=8))

Open = Callable[..., Any]
Run = Callable[..., TrialResult]
OBJECTIVES = ("fid_fashion_cnn", "latency_ms")


def work_of(candidate: Candidate) -> float:
    """As the latency in the formula that stands for trials, and never zero."""
    roles = candidate.schedule.roles
    return float(candidate.sampling.steps * (1 + sum(role in ("dense", "recover") for role in roles)))


def acquisition(**changes: Any) -> Acquisition:
    return Acquisition(
        **{"num": 64, "work": work_of, "predict_ms": lambda _: None, "objectives": OBJECTIVES, **changes}
    )


def _complete(search: Any) -> list[TrialRecord]:
    return [record for record in search.store.trials() if record.state == "complete"]


def values(records: Any) -> np.ndarray:
    return np.array([[record.measurements[name].value for name in OBJECTIVES] for record in records])


@pytest.fixture
def half_done(open_search: Open, run_trial: Run) -> Any:
    """A search with some trials, the same for all."""
    search = open_search(trials=14, algorithm="random")
    run_locally(search, run_trial)
    return search


def test_the_expected_gain_is_the_mean_over_draws() -> None:
    front, reference = np.array([[1.0, 8.0], [2.0, 4.0], [5.0, 2.0]]), np.array([6.0, 10.0])
    normal = np.random.default_rng(0).standard_normal(4000)
    mean, sd, latency = np.array([0.7, 2.0]), np.array([0.3, 0.4]), [3.0, 9.0]
    found = expected_gain(front, log_mean=mean, log_sd=sd, latency=latency, reference=reference)
    for index, known in enumerate(latency):
        before = hypervolume(front, reference=reference)
        draws = [
            hypervolume(np.vstack([front, (quality, known)]), reference=reference) - before
            for quality in np.exp(mean[index] + sd[index] * normal)
        ]
        assert found[index] == pytest.approx(np.mean(draws), rel=0.05, abs=0.02)


def test_what_is_surely_dominated_gains_nothing_and_the_area_is_that_of_its_rectangles() -> None:
    front = np.array([[1.0, 2.0], [3.0, 1.0]])
    reference = reference_point(np.array([[2.0, 4.0], [4.0, 1.0]]))
    assert reference == pytest.approx([4.4, 4.4])
    assert hypervolume(front, reference=reference) == pytest.approx(3.4 * 2.4 + 1.4 * 1.0), "two rectangles"
    gains = expected_gain(
        front, log_mean=np.log([3.5, 0.5]), log_sd=np.array([1e-6, 1e-6]), latency=[3.0, 3.0], reference=reference
    )
    assert gains[0] == pytest.approx(0.0, abs=1e-9)
    assert gains[1] == pytest.approx(0.5 * 1.4, rel=1e-4)
    assert hypervolume(np.empty((0, 2)), reference=reference) == 0.0


def test_the_model_knows_what_it_saw_and_doubts_what_is_far(space: SearchSpace) -> None:
    candidates = [candidate for candidate in space.candidates(up_to=200) if candidate.sampling.steps > 1]
    seen, others = candidates[::3], candidates[1::3]
    table = [features(one, work=work_of(one)) for one in seen]
    dense = [30.0 / one.sampling.steps for one in seen]
    ratio = [1 + 1 / (1 + one.schedule.roles.count("dense")) for one in seen]
    model = QualityModel(table, qualities=[d * r for d, r in zip(dense, ratio, strict=True)], dense=dense)
    mean, sd = model.predict(table, dense=dense)
    assert np.exp(mean) == pytest.approx([d * r for d, r in zip(dense, ratio, strict=True)], rel=0.05)
    asked = [features(one, work=work_of(one)) for one in others]
    mean, _ = model.predict(asked, dense=[30.0 / one.sampling.steps for one in others])
    truth = [30 / one.sampling.steps * (1 + 1 / (1 + one.schedule.roles.count("dense"))) for one in others]
    assert np.median(np.abs(np.exp(mean) / truth - 1)) < 0.03
    far = tuple(10 * (one + 1) for one in table[0])
    _, doubts = model.predict([table[0], far], dense=[1.0, 1.0])
    assert doubts[1] > 3 * doubts[0]
    assert sd.max() < doubts[1]


def test_there_must_be_something_to_learn_from(half_done: Any) -> None:
    records = half_done.store.trials()
    assert acquisition().is_ready(records)
    assert not acquisition().is_ready([record for record in records if record.baseline is None]), "no dense base"
    trained = [record for record in records if not record.candidate.schedule.is_dense]
    few = [record for record in records if record not in trained] + trained[: LEAST_TRIALS - 1]
    assert not acquisition().is_ready(few)


def test_the_choice_gains_more_than_most(half_done: Any, run_trial: Run, tmp_path: Path) -> None:
    """By the formula that stands for trials; on real trials, see the tabular benchmark's tests."""
    records = half_done.store.trials()
    tried = {record.digest for record in records}
    space = half_done._space
    unseen = [candidate for candidate in space.candidates(up_to=500) if candidate.digest not in tried]
    records = [record for record in records if record.state == "complete"]
    front, reference = values(records), reference_point(values([r for r in records if r.baseline is not None]))

    def gain(candidate: Candidate) -> float:
        result = run_trial(TrialOrder(number=0, candidate=candidate, run_dir=tmp_path, seed=0))
        point = [result.measurements[name].value for name in OBJECTIVES]
        return hypervolume(np.vstack([front, point]), reference=reference)

    gains = np.array([gain(candidate) for candidate in unseen])
    chosen = acquisition().best(unseen, records)
    assert gains[chosen] > np.median(gains)


def test_trials_that_were_stopped_count_by_their_rung(half_done: Any) -> None:
    """A region in which trials were stopped for being bad promises less than before."""
    records = [
        replace(record, rungs=(Rung(updates=0, quality=values([record])[0][0] + 5.0),))
        for record in _complete(half_done)
    ]
    unseen = half_done._space.candidates(up_to=200)
    chosen = unseen[acquisition().best(unseen, records)]
    latency = Measurement(name=OBJECTIVES[1], value=work_of(chosen), unit="ms/image", protocol={})
    stopped = replace(
        records[-1],
        number=98,
        candidate=chosen,
        state="pruned",
        baseline=None,
        measurements={latency.name: latency},
        rungs=(Rung(updates=0, quality=500.0),),
    )
    again = unseen[acquisition().best(unseen, [*records, stopped])]
    assert features(again, work=work_of(again)) != features(chosen, work=work_of(chosen))
    elsewhere = replace(stopped, rungs=(Rung(updates=7, quality=500.0),))
    assert unseen[acquisition().best(unseen, [*records, elsewhere])] == chosen, "nobody has passed it: it tells nothing"


def test_a_profile_in_other_units_changes_nothing(half_done: Any) -> None:
    """Predictions are scaled to what was measured, so a machine that is slower by a factor chooses the same."""
    records, unseen = half_done.store.trials(), half_done._space.candidates(up_to=200)
    by_work = acquisition().best(unseen, records)
    assert acquisition(predict_ms=lambda one: 7 * work_of(one)).best(unseen, records) == by_work
    assert acquisition(work=lambda one: 7 * work_of(one)).best(unseen, records) == by_work


def test_what_is_over_the_limit_is_chosen_last(half_done: Any) -> None:
    records, unseen = half_done.store.trials(), half_done._space.candidates(up_to=200)
    for max_ms in (10.0, 20.0, 30.0):
        assert work_of(unseen[acquisition(max_ms=max_ms).best(unseen, records)]) <= max_ms


def test_what_runs_beside_it_is_not_chosen_again(half_done: Any) -> None:
    records, unseen = half_done.store.trials(), half_done._space.candidates(up_to=200)
    chosen = unseen[acquisition().best(unseen, records)]
    running = replace(records[-1], number=99, candidate=chosen, state="running", measurements={}, baseline=None)
    twin = [one for one in unseen if features(one, work=work_of(one)) != features(chosen, work=work_of(chosen))]
    assert features(unseen[acquisition().best(unseen, [*records, running])], work=1.0) != features(chosen, work=1.0)
    assert len(twin) < len(unseen)


def test_a_screened_search_that_was_killed_goes_on_as_if_it_had_not_been(
    open_search: Open, run_trial: Run, tmp_path: Path
) -> None:
    def candidates(search: Any) -> list[str]:
        return [record.digest for record in search.store.trials() if record.state == "complete"]

    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    options = {"trials": 17, "startup": 5, "acquisition": acquisition()}
    whole = open_search(run_dir=tmp_path / "whole", **options)
    run_locally(whole, run_trial)
    calls = 0

    def dies(order: TrialOrder, report: Report) -> TrialResult:
        nonlocal calls
        calls += 1
        if calls in (12, 15):
            raise KeyboardInterrupt
        return run_trial(order, report)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_locally(open_search(run_dir=tmp_path / "killed", **options), dies)
    resumed = open_search(run_dir=tmp_path / "killed", **options)
    run_locally(resumed, run_trial)
    assert candidates(resumed) == candidates(whole)
    assert len(set(candidates(whole))) == len(candidates(whole)) == 17


def test_a_space_that_is_used_up_ends_the_search(open_search: Open, run_trial: Run) -> None:
    tiny = parse_space(
        {
            "segments": [
                {"family": "sdtm", "sparse": "rest", "dense": {"choice": [0, 1]}},
                {"family": "dense", "depth": {"int": [1, 3]}},
            ],
            "timetable": {"stages": 1, "clean_grid": {"choice": [3, 4]}, "noise_grid": 2},
            "sampler_steps": 4,
        },
        target=TARGET,
    )
    search = open_search(trials=100, startup=5, acquisition=acquisition(), space=tiny)
    assert run_locally(search, run_trial) == "every schedule of the space has been evaluated"
    complete = {record.digest for record in search.store.trials() if record.state == "complete"}
    assert {candidate.digest for candidate in tiny.candidates(up_to=100)} <= complete


def with_paired_distances(
    records: list[TrialRecord], paired_distance: Callable[[Candidate], float]
) -> list[TrialRecord]:
    """The trials, as if the drift of each had been measured."""
    found = []
    for record in records:
        value = 0.0 if record.baseline and record.candidate.schedule.is_dense else paired_distance(record.candidate)
        measured = {
            **record.measurements,
            "paired_distance": Measurement(name="paired_distance", value=value, unit="1"),
        }
        found.append(replace(record, measurements=measured) if record.state == "complete" else record)
    return found


def test_outlooks_decide_where_every_trial_has_one(half_done: Any) -> None:
    """What drifts least among candidates that cost the same is taken, whatever its quality so far."""
    records, unseen = half_done.store.trials(), half_done._space.candidates(up_to=400)
    same = [one for one in unseen if one.sampling.steps == 4]

    def share_pooled(candidate: Candidate) -> float:
        roles = candidate.schedule.roles
        return roles.count("pool") / len(roles)

    def chosen(paired_distance: Callable[[Candidate], float]) -> Candidate:
        alike = acquisition(work=lambda one: float(one.sampling.steps))
        return same[alike.best(same, with_paired_distances(records, paired_distance))]

    assert len({share_pooled(one) for one in same}) > 1
    few, many = chosen(share_pooled), chosen(lambda one: 1 - share_pooled(one))
    assert share_pooled(few) < share_pooled(many)
    one_missing = with_paired_distances(records, share_pooled)
    one_missing[-1] = records[-1]
    assert acquisition().best(unseen, one_missing) == acquisition().best(unseen, records), "never mixed with qualities"


def test_distances_that_are_not_positive_are_left_to_the_sampler(half_done: Any) -> None:
    records = half_done.store.trials()
    assert acquisition().is_ready(records)
    name = OBJECTIVES[0]
    last = replace(
        records[-1], measurements={**records[-1].measurements, name: Measurement(name=name, value=-1e-3, unit="1")}
    )
    assert last.state == "complete"
    assert not acquisition().is_ready([*records[:-1], last])


def test_only_the_default_sampler_is_helped_unasked() -> None:
    assert SearchSettings().pool_size > 1
    assert SearchSettings(algorithm="nsga2").pool_size == 1
    assert SearchSettings(algorithm="random", pool=8).pool_size == 8
    assert SearchSettings(pool=1).pool_size == 1

"""Choosing among unseen candidates: what is expected of them, and that a search that chooses loses nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Call

from flexsearch.measurement import Measurement
from flexsearch.objectives.settings import PAIRED_DISTANCE
from flexsearch.schedule import Cache, Candidate, DensitySchedule, Gain, GuidanceRows, Sampling, Sdtm, Timetable
from flexsearch.space import SearchSpace, parse_space
from flexsearch.study import acquisition as acquisition_module
from flexsearch.study.acquisition import LEAST_TRIALS, Acquisition
from flexsearch.study.dense_quality import DenseQuality, dense_baselines
from flexsearch.study.device_seconds import DeviceSeconds
from flexsearch.study.executor import run_locally
from flexsearch.study.pareto import expected_gain, hypervolume, non_dominated, reference_point
from flexsearch.study.quality_model import QualityModel, features
from flexsearch.study.settings import SearchSettings
from flexsearch.study.store import TrialRecord
from flexsearch.trial.contract import Report, Rung, TrialOrder, TrialResult

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
def half_done(open_search: Call, run_trial: Call) -> Any:
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


def test_the_choice_gains_more_than_most(half_done: Any, run_trial: Call, tmp_path: Path) -> None:
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


def test_other_units_change_nothing_and_what_is_over_the_limit_is_chosen_last(half_done: Any) -> None:
    """Predictions are scaled to what was measured, so a machine that is slower by a factor chooses the same."""
    records, unseen = half_done.store.trials(), half_done._space.candidates(up_to=200)
    by_work = acquisition().best(unseen, records)
    assert acquisition(predict_ms=lambda one: 7 * work_of(one)).best(unseen, records) == by_work
    assert acquisition(work=lambda one: 7 * work_of(one)).best(unseen, records) == by_work
    for max_ms in (10.0, 20.0, 30.0):
        assert work_of(unseen[acquisition(max_ms=max_ms).best(unseen, records)]) <= max_ms


def test_what_runs_beside_it_is_not_chosen_again(half_done: Any) -> None:
    records, unseen = half_done.store.trials(), half_done._space.candidates(up_to=200)
    chosen = unseen[acquisition().best(unseen, records)]
    running = replace(records[-1], number=99, candidate=chosen, state="running", measurements={}, baseline=None)
    assert features(unseen[acquisition().best(unseen, [*records, running])], work=1.0) != features(chosen, work=1.0)


def test_a_screened_search_that_was_killed_goes_on_as_if_it_had_not_been(
    open_search: Call, run_trial: Call, tmp_path: Path
) -> None:
    def candidates(search: Any) -> list[str]:
        return [record.digest for record in search.store.trials() if record.state == "complete"]

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


def test_a_space_that_is_used_up_ends_the_search(open_search: Call, run_trial: Call, space: SearchSpace) -> None:
    tiny = parse_space(
        {
            "segments": [
                {"family": "sdtm", "sparse": "rest", "dense": {"choice": [0, 1]}},
                {"family": "dense", "depth": {"int": [1, 3]}},
            ],
            "timetable": {"stages": 1, "clean_grid": {"choice": [3, 4]}, "noise_grid": 2},
            "sampler_steps": 4,
        },
        target=space.target,
    )
    search = open_search(trials=100, startup=5, acquisition=acquisition(), space=tiny)
    assert run_locally(search, run_trial).reason == "every schedule of the space has been evaluated"
    complete = {record.digest for record in search.store.trials() if record.state == "complete"}
    assert {candidate.digest for candidate in tiny.candidates(up_to=100)} <= complete


def measured_as(records: list[TrialRecord], name: str, value: Callable[[Candidate], float]) -> list[TrialRecord]:
    """The trials, as if each schedule that is not dense had been measured so."""
    found = []
    for record in records:
        if record.state == "complete" and not record.candidate.schedule.is_dense:
            measured = Measurement(name=name, value=value(record.candidate), unit="1")
            record = replace(record, measurements={**record.measurements, name: measured})
        found.append(record)
    return found


def test_quality_decides_among_what_costs_the_same(half_done: Any) -> None:
    records, unseen = half_done.store.trials(), half_done._space.candidates(up_to=400)
    same = [one for one in unseen if one.sampling.steps == 4]
    dense = DenseQuality(dense_baselines(records), quality=OBJECTIVES[0])

    def share_pooled(candidate: Candidate) -> float:
        roles = candidate.schedule.roles
        return roles.count("pool") / len(roles)

    def chosen(worse: Callable[[Candidate], float]) -> Candidate:
        alike = acquisition(work=lambda one: float(one.sampling.steps))
        qualities = measured_as(records, OBJECTIVES[0], lambda one: dense.at(one.sampling) * (1 + worse(one)))
        return same[alike.best(same, qualities)]

    assert len({share_pooled(one) for one in same}) > 1
    few, many = chosen(share_pooled), chosen(lambda one: 1 - share_pooled(one))
    assert share_pooled(few) < share_pooled(many)
    with_distances = measured_as(records, PAIRED_DISTANCE, share_pooled)
    assert acquisition().best(unseen, with_distances) == acquisition().best(unseen, records), "nothing else does"


def test_distances_that_are_not_positive_are_left_to_the_sampler(half_done: Any) -> None:
    records = half_done.store.trials()
    assert acquisition().is_ready(records)
    negative = {OBJECTIVES[0]: Measurement(name=OBJECTIVES[0], value=-1e-3, unit="1")}
    last = replace(records[-1], measurements={**records[-1].measurements, **negative})
    assert last.state == "complete"
    assert not acquisition().is_ready([*records[:-1], last])


def sampled(**sampling: Any) -> Candidate:
    schedule = DensitySchedule(segments=(Sdtm(sparse=4, dense=2),), timetable=Timetable(grids=(3,)))
    return Candidate(schedule=schedule, sampling=Sampling(steps=10, **sampling))


@pytest.mark.parametrize(
    "sampling",
    [
        {"solver": "ab2"},
        {"cache": Cache(full=0.5)},
        {"cache": Cache(full=0.5, skew=1.0, warmup=2)},
        {"cache": Cache(full=0.5, order=0)},
        {"cache": Cache(full=0.5, first=2)},
        {"cache": Cache(full=0.5, last=1)},
        {"cache": Cache(full=0.5, nulls=1.0)},
        {"cache": Cache(full=0.5, reuse="modules")},
        {"guidance": GuidanceRows(start=0.2)},
        {"guidance": GuidanceRows(every=2)},
        {"gain": Gain(stream=0.9, at=4)},
        {"gain": Gain(skip=0.9)},
    ],
)
def test_the_model_sees_every_axis_of_sampling(sampling: dict[str, Any]) -> None:
    plain = Cache(full=0.5) if sampling.get("cache", Cache()) != Cache(full=0.5) and "cache" in sampling else Cache()
    assert features(sampled(**sampling), work=1.0) != features(sampled(cache=plain), work=1.0)


def test_what_does_the_same_looks_the_same_to_the_model() -> None:
    same = sampled(cache=Cache(full=1.0, first=3, order=0, reuse="modules", nulls=0.5))
    assert features(same, work=1.0) == features(sampled(), work=1.0)
    assert same.digest == sampled().digest


def timed(records: list[TrialRecord], seconds: Callable[[TrialRecord], dict[str, float]]) -> list[TrialRecord]:
    return [replace(record, seconds=seconds(record)) for record in records]


def test_seconds_of_samples_follow_the_work_and_a_trained_schedule_takes_no_others(half_done: Any) -> None:
    def seconds(record: TrialRecord) -> dict[str, float]:
        sampling = {"sample": 3.0 + 0.25 * work_of(record.candidate), "score": 1.0}
        return sampling if record.baseline == "dense" else {**sampling, "fine-tune": 50.0, "rung": 10.0}

    records = timed(_complete(half_done), seconds)
    predicted = DeviceSeconds(records, work=work_of)
    trained = {one.candidate.schedule.digest for one in records if one.baseline in (None, "FlexDiT paper")}
    seen = set()
    for one in half_done._space.candidates(up_to=200):
        is_trained = one.schedule.digest in trained
        seen.add(is_trained)
        assert predicted.of(one) == pytest.approx(4.0 + 0.25 * work_of(one) + 60.0 * (not is_trained))
    assert seen == {True, False}
    base = Candidate(schedule=DensitySchedule.all_dense(8), sampling=Sampling(steps=3))
    assert predicted.of(base) == pytest.approx(4.0 + 0.25 * work_of(base)), "it needs no fine-tune"
    assert DeviceSeconds(timed(records, lambda _: {}), work=work_of).of(one) == 1.0, "nobody knows"
    free = DeviceSeconds(timed(records, lambda _: {"sample": 2.0}), work=work_of)
    assert free.of(one) == pytest.approx(2.0), "where nothing is trained, samples are all"


def test_a_long_fine_tune_is_weighed_against_cheap_variants_of_what_is_trained(half_done: Any) -> None:
    """The trials are the same; what differs is what a fine-tune costs."""
    trained = {record.candidate.schedule.digest for record in half_done.store.trials() if record.baseline is None}
    tried = {record.digest for record in half_done.store.trials()}
    unseen = [one for one in half_done._space.candidates(up_to=400) if one.digest not in tried]

    def chosen(fine_tune: float) -> Candidate:
        records = timed(_complete(half_done), lambda _: {"sample": 1.0, "fine-tune": fine_tune})
        return unseen[acquisition().best(unseen, records)]

    assert {one.schedule.digest in trained for one in unseen} == {True, False}
    assert chosen(1e6).schedule.digest in trained
    assert chosen(0.0).schedule.digest not in trained


def test_half_of_the_pool_samples_trained_schedules_in_new_ways(
    open_search: Call, sampling_space: SearchSpace, run_trial: Call
) -> None:
    pools: list[list[Candidate]] = []

    class Spy(Acquisition):
        def best(self, candidates: Any, records: Any) -> int:
            pools.append(list(candidates))
            return 0

    wide = acquisition(num=32)
    spy = Spy(num=wide.num, work=wide.work, predict_ms=wide.predict_ms, objectives=wide.objectives)
    search = open_search(space=sampling_space, trials=27, startup=2, acquisition=spy, algorithm="random")
    run_locally(search, run_trial)
    trained = {record.candidate.schedule.digest for record in _complete(search)[23:25]}
    assert len({one.digest for one in pools[0]}) == len(pools[0]) == 32
    assert {one.schedule.digest for one in pools[0][:16]} <= trained
    assert len({one.sampling for one in pools[0]}) > 8


def test_a_space_without_training_is_screened_too(
    open_search: Call, sampling_space: SearchSpace, run_trial: Call
) -> None:
    """All of its candidates are dense, and the first proposals after `startup` are the acquisition's."""
    space = parse_space(
        {
            "segments": [{"family": "dense", "depth": "rest"}],
            "sampler_steps": {"choice": [3, 4, 5, 7, 10]},
            "solver": {"choice": ["base", "ab2"]},
            "cache": {"full": {"choice": [1.0, 0.75, 0.5]}, "first": {"int": [0, 2]}, "order": {"choice": [0, 1]}},
        },
        target=sampling_space.target,
    )
    calls: list[int] = []

    class Spy(Acquisition):
        def best(self, candidates: Any, records: Any) -> int:
            calls.append(len(candidates))
            return super().best(candidates, records)

    def untrained(order: TrialOrder, report: Report) -> TrialResult:
        return replace(run_trial(order, report), seconds={"sample": 1.0})

    wide = acquisition(num=32, work=lambda one: float(space.plan(one).macs))
    spy = Spy(num=wide.num, work=wide.work, predict_ms=wide.predict_ms, objectives=wide.objectives)
    search = open_search(space=space, trials=24, startup=1, acquisition=spy)
    run_locally(search, untrained)
    assert calls
    assert set(calls) == {32}


def test_only_the_default_sampler_is_helped_unasked() -> None:
    assert SearchSettings().pool_size > 1
    assert SearchSettings(algorithm="nsga2").pool_size == 1
    assert SearchSettings(algorithm="random", pool=8).pool_size == 8
    assert SearchSettings(pool=1).pool_size == 1


def test_of_many_trials_the_front_and_some_of_the_rest_are_learnt_from(
    half_done: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that deciding does not take longer and longer."""
    records = _complete(half_done)
    chosen = acquisition()
    assert chosen._some(records) == records
    monkeypatch.setattr(acquisition_module, "MOST_KNOWN", 8)
    some = chosen._some(records)
    assert len(some) == 8
    assert [record.number for record in some] == sorted(record.number for record in some)
    best = sorted(
        one.number for one in non_dominated(records, key=lambda one: tuple(values([one])[0]), keep_equal=True)
    )
    assert set(best[-4:]) <= {one.number for one in some}

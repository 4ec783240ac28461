"""What long training should make of a schedule: the formula, and where nothing can be said."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from builders import trial_record

from flexsearch.measurement import Measurement
from flexsearch.schedule import Cache, Gain, Sampling
from flexsearch.study.predicted_distance import DenseQuality, dense_baselines, predicted_distances, scores
from flexsearch.study.store import TrialRecord
from flexsearch.trial.contract import Rung

predicted, scored = partial(predicted_distances, quality="fid"), partial(scores, quality="fid")
DENSE = [
    trial_record(0, 8.0, steps=16, paired_distance=0.0, is_dense=True),
    trial_record(1, 32.0, steps=4, paired_distance=0.25, is_dense=True),
]


def test_it_is_dense_quality_at_the_steps_times_one_plus_the_paired_distance() -> None:
    searched = [
        trial_record(2, 99.0, steps=16, paired_distance=0.5),
        trial_record(3, 1.0, steps=4, paired_distance=0.5),
        trial_record(4, 5.0, steps=8),
    ]
    assert predicted([*DENSE, *searched]) == pytest.approx({0: 8.0, 1: 40.0, 2: 12.0, 3: 48.0})


def test_between_dense_baselines_quality_is_a_power_of_the_steps() -> None:
    dense = DenseQuality(DENSE, quality="fid")
    assert [dense.at(Sampling(steps=steps)) for steps in (4, 8, 16)] == pytest.approx([32.0, 16.0, 8.0])
    assert [dense.at(Sampling(steps=steps)) for steps in (2, 50)] == pytest.approx([32.0, 8.0]), "beyond them it stays"


def test_a_curve_is_of_one_shift_and_calls_the_model_at_every_step() -> None:
    shifted = [sampled(one, value, shift=1.5) for one, value in zip(DENSE, (6.0, 12.0), strict=True)]
    started = sampled(DENSE[0], 1.0, start="mean")
    records = [*DENSE, *shifted, started]
    assert dense_baselines(records) == records[:-1]
    dense = DenseQuality(dense_baselines(records), quality="fid")
    assert dense.at(Sampling(steps=4)) == pytest.approx(32.0)
    assert dense.at(Sampling(steps=4, shift=1.5)) == pytest.approx(12.0)
    gain = Gain(stream=0.9, at=2)
    assert dense.at(Sampling(steps=4, shift=1.5, gain=gain, start="mean")) == pytest.approx(12.0), "that without gain"
    assert dense.is_on_a_curve(shifted[0].candidate)
    assert not dense.is_on_a_curve(started.candidate)


def sampled(one: TrialRecord, quality: float, **sampling: Any) -> TrialRecord:
    """The trial under another sampling."""
    return replace(
        one,
        candidate=replace(one.candidate, sampling=replace(one.candidate.sampling, **sampling)),
        measurements={**one.measurements, "fid": Measurement(name="fid", value=quality, unit="1")},
    )


def test_every_solver_and_gain_has_its_own_curve() -> None:
    gain = Gain(stream=0.9, at=4)
    others = [
        *(sampled(one, value, solver="ab2") for one, value in zip(DENSE, (6.0, 16.0), strict=True)),
        *(sampled(one, value, solver="ab2", gain=gain) for one, value in zip(DENSE, (5.0, 12.0), strict=True)),
        sampled(DENSE[1], 2.0, solver="unipc"),
        sampled(DENSE[1], 1.0, solver="ab2", gain=Gain(stream=0.8, at=4)),
    ]
    for dense in ([*DENSE, *others], [*others, *DENSE]):
        curve = DenseQuality(dense, quality="fid")
        at = {
            name: curve.at(Sampling(steps=4, **sampling))
            for name, sampling in {
                "base": {},
                "ab2": {"solver": "ab2"},
                "ab2, gain": {"solver": "ab2", "gain": gain},
                "ab2, skip": {"solver": "ab2", "gain": Gain(stream=0.9, at=4, skip=0.9)},
                "ab2, a gain measured once": {"solver": "ab2", "gain": Gain(stream=0.8, at=4)},
                "ab2, half of the steps": {"solver": "ab2", "cache": Cache(full=0.5)},
                "measured once": {"solver": "unipc"},
                "never measured": {"solver": "heun"},
            }.items()
        }
        assert at == pytest.approx(
            {
                "base": 32.0,
                "ab2": 16.0,
                "ab2, gain": 12.0,
                "ab2, skip": 12.0,
                "ab2, a gain measured once": 16.0,
                "ab2, half of the steps": 16.0,
                "measured once": 12.0,
                "never measured": 12.0,
            }
        )
        assert [curve.is_on_a_curve(one.candidate) for one in others] == [True] * 4 + [False] * 2


def test_at_one_number_of_steps_one_trial_is_a_curve() -> None:
    curve = DenseQuality([DENSE[1], sampled(DENSE[1], 16.0, solver="ab2")], quality="fid")
    assert curve.at(Sampling(steps=4)) == pytest.approx(32.0)
    assert curve.at(Sampling(steps=4, solver="ab2")) == pytest.approx(16.0)


def test_what_reuses_is_no_point_of_a_curve() -> None:
    reuses = replace(sampled(DENSE[1], 1.0, cache=Cache(full=0.5)), number=9)
    assert dense_baselines([*DENSE, reuses]) == DENSE
    trained = trial_record(3, 9.0, steps=4, paired_distance=0.5)
    found = predicted_distances([*DENSE, reuses, trained], quality="fid")
    assert found == pytest.approx({0: 8.0, 1: 40.0, 9: 40.0, 3: 48.0}), "the quality of all its steps counts"


def test_without_dense_baselines_or_paired_distance_there_is_none() -> None:
    assert predicted([]) == {}
    assert predicted([trial_record(2, 9.0, steps=4, paired_distance=0.5)]) == {}
    assert (
        predicted([trial_record(0, 8.0, steps=16, is_dense=True), trial_record(2, 9.0, steps=4)], quality="fid") == {}
    )
    negative = trial_record(0, -0.1, steps=16, paired_distance=0.0, is_dense=True)
    assert predicted([negative, trial_record(2, 9.0, steps=4, paired_distance=0.5)]) == {}
    running = replace(trial_record(2, 9.0, steps=4, paired_distance=0.5), state="running")
    assert set(predicted([*DENSE, running])) == {0, 1}
    assert dense_baselines([replace(DENSE[0], state="failed"), DENSE[1]]) == DENSE[1:]
    searched_dense = replace(DENSE[0], baseline=None)
    assert dense_baselines([searched_dense]) == [], "a searched schedule that is dense was trained"


def at_rung(record: TrialRecord, quality: float, paired_distance: float | None) -> TrialRecord:
    return replace(record, rungs=(Rung(updates=10, quality=quality, paired_distance=paired_distance),))


def test_at_a_rung_it_goes_by_the_paired_distance_there() -> None:
    searched = [
        at_rung(trial_record(2, 9.0, steps=16, paired_distance=0.5), 30.0, 1.0),
        trial_record(3, 9.0, steps=4, paired_distance=0.5),
    ]
    running = at_rung(replace(trial_record(4, 9.0, steps=4), state="running", measurements={}), 40.0, 0.5)
    assert predicted([*DENSE, *searched, running], updates=10) == pytest.approx({2: 16.0, 4: 48.0})
    assert predicted([*DENSE, *searched, running], updates=20) == {}


def test_predicted_distances_and_qualities_are_never_compared() -> None:
    known, unknown = trial_record(2, 9.0, steps=16, paired_distance=0.5), trial_record(3, 7.0, steps=4)
    assert scored([*DENSE, known]) == pytest.approx({0: 8.0, 1: 40.0, 2: 12.0})
    assert scored([*DENSE, known, unknown]) == {0: 8.0, 1: 32.0, 2: 9.0, 3: 7.0}
    assert scored([known]) == {2: 9.0}, "no dense baseline"
    reached = [at_rung(known, 30.0, 1.0), at_rung(unknown, 40.0, 0.5)]
    assert scored([*DENSE, *reached], updates=10) == pytest.approx({2: 16.0, 3: 48.0})
    assert scored(reached, updates=10) == {2: 30.0, 3: 40.0}
    reached[1] = at_rung(unknown, 40.0, None)
    assert scored([*DENSE, *reached], updates=10) == {2: 30.0, 3: 40.0}


def test_where_nothing_is_trained_the_quality_itself_counts() -> None:
    """A dense trial's quality is final: no long training is to be predicted."""
    records = [trial_record(0, 20.0, steps=4, paired_distance=0.2, is_dense=True)]
    records.append(trial_record(1, 10.0, steps=10, paired_distance=0.1, is_dense=True))
    assert predicted_distances(records, quality="fid") == {}
    assert scores(records, quality="fid") == {0: 20.0, 1: 10.0}
    trained = trial_record(2, 15.0, steps=4, paired_distance=0.5)
    assert set(predicted_distances([*records, trained], quality="fid")) == {0, 1, 2}

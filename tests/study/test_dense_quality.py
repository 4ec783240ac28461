"""The dense base's quality at a sampling: between its trials, beyond them, and what has a curve of its own."""

from dataclasses import replace
from typing import Any

import pytest
from builders import trial_record

from flexsearch.measurement import Measurement
from flexsearch.schedule import Cache, Gain, Sampling
from flexsearch.study.dense_quality import DenseQuality, dense_baselines
from flexsearch.study.store import TrialRecord

DENSE = [trial_record(0, 8.0, steps=16, is_dense=True), trial_record(1, 32.0, steps=4, is_dense=True)]


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
    assert DenseQuality(DENSE, quality="fid").at(reuses.candidate.sampling) == pytest.approx(32.0), "of all its steps"


def test_baselines_are_what_is_complete_and_was_never_trained() -> None:
    assert dense_baselines([]) == dense_baselines([trial_record(2, 9.0, steps=4)]) == []
    assert dense_baselines([replace(DENSE[0], state="failed"), DENSE[1]]) == DENSE[1:]
    searched_dense = replace(DENSE[0], baseline=None)
    assert dense_baselines([searched_dense]) == [], "a searched schedule that is dense was trained"

"""Candidates that do the same are the same."""

from dataclasses import replace

from flexsearch.schedule import Candidate, DensitySchedule, Gain, Sampling, Sdtm, Timetable


def test_a_gain_of_the_skip_does_nothing_without_sparse_tokens() -> None:
    dense, plain = DensitySchedule.all_dense(8), Sampling(steps=4, gain=Gain(stream=0.9, at=2))
    skipping = replace(plain, gain=replace(plain.gain, skip=0.8))
    assert Candidate(schedule=dense, sampling=skipping) == Candidate(schedule=dense, sampling=plain)
    sparse = DensitySchedule(segments=(Sdtm(sparse=4, dense=2),), timetable=Timetable(grids=(3,)))
    assert Candidate(schedule=sparse, sampling=skipping).sampling == skipping
    assert Candidate(schedule=sparse, sampling=skipping).digest != Candidate(schedule=sparse, sampling=plain).digest

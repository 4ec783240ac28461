"""Agreement of rankings: the same order is 1, the reverse -1, and trials at other steps do not count."""

from dataclasses import replace

import pytest
from fake_run import QUALITY, trial_record
from scipy.stats import kendalltau

from flexsearch.measurement import Measurement
from flexsearch.report.rank_correlation import rank_correlations
from flexsearch.schedule.sampling import Sampling
from flexsearch.study.store import TrialRecord
from flexsearch.trial.contract import Rung


def record(number: int, final: float, *, steps: int = 5, **rungs: float) -> TrialRecord:
    found = [Rung(updates=int(name.removeprefix("u")), quality=value) for name, value in rungs.items()]
    return trial_record(number, final, sampling=Sampling(steps=steps), rungs=found)


def test_tau_is_kendalls_and_of_equal_steps_only() -> None:
    rung, final = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6], [2.0, 1.0, 5.0, 3.0, 4.0, 6.0]
    records = [record(number, final[number], u0=rung[number]) for number in range(6)]
    (found,) = rank_correlations(records, objective=QUALITY)
    assert found.tau == pytest.approx(kendalltau(rung, final).statistic)
    assert (found.earlier, found.later, found.num_pairs) == (0, 60, 15)
    mixed = [*records, *(record(10 + n, 100 - n, steps=3, u0=float(n)) for n in range(2))]
    (found,) = rank_correlations(mixed, objective=QUALITY)
    assert found.num_pairs == 16
    assert found.tau == pytest.approx((15 * kendalltau(rung, final).statistic - 1) / 16)


def test_every_rung_is_compared_with_the_end_and_the_end_with_longer_fine_tunes() -> None:
    records = [record(n, n, u0=-n, u15=n, u240=n) for n in range(5)]
    found = rank_correlations(records, objective=QUALITY)
    assert [(one.earlier, one.later, one.tau) for one in found] == [(0, 60, -1), (15, 60, 1), (60, 240, 1)]


def test_nothing_is_said_of_trials_that_cannot_be_compared() -> None:
    assert rank_correlations([], objective=QUALITY) == []
    assert rank_correlations([record(0, 1.0, u0=1.0)], objective=QUALITY) == []
    assert rank_correlations([record(n, n, u0=n) for n in range(4)], objective=QUALITY) == [], "six pairs are too few"
    ties = [record(0, 1.0, u0=1.0), record(1, 1.0, u0=2.0)]
    assert rank_correlations(ties, objective=QUALITY) == []


def test_predicted_distances_are_compared_with_themselves_at_rungs_and_with_what_longer_fine_tunes_came_to() -> None:
    dense = replace(record(9, 8.0), baseline="dense", num_updates=0)
    records = [dense]
    for n in range(5):
        one = record(n, n, u0=n, u240=-n)
        rungs = tuple(replace(rung, paired_distance=float(n)) if rung.updates == 0 else rung for rung in one.rungs)
        paired_distance = Measurement(name="paired_distance", value=5.0 - n, unit="1")
        records.append(replace(one, rungs=rungs, measurements={**one.measurements, "paired_distance": paired_distance}))
    found = rank_correlations(records, objective=QUALITY)
    assert [(one.by, one.earlier, one.later_by, one.later, one.tau, one.num_pairs) for one in found] == [
        (QUALITY, 0, QUALITY, 60, 1, 10),
        ("predicted_distance", 0, "predicted_distance", 60, -1, 10),
        (QUALITY, 60, QUALITY, 240, -1, 10),
        ("predicted_distance", 60, QUALITY, 240, 1, 10),
    ]

"""Choosing equals brute force, prefers what was measured again, and says what noise leaves open."""

from pathlib import Path

import numpy as np
import pytest
from fake_run import NOISE_FREEDOM, FakeRun, confirm

from flexsearch.cli.results import front_of_run
from flexsearch.errors import UserError
from flexsearch.report.choice import choose, reasons
from flexsearch.report.front import Front
from flexsearch.report.student import half_width


def front_of(folder: Path, **what: object) -> Front:
    return front_of_run(FakeRun(folder=folder / "run", **what).make())  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(2))
def test_choice_equals_brute_force(tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    front = front_of(tmp_path, points=[(float(q), float(ms)) for q, ms in generator.uniform(3, 30, (12, 2))])
    everything = [front.values(record) for record in front.complete.values()]
    for limit in generator.uniform(min(ms for _, ms in everything), 40, 15):
        found = choose(front, max_latency_ms=float(limit)).point
        assert found.quality == min(quality for quality, ms in everything if ms <= limit)
        assert found.latency_ms <= limit
    for limit in generator.uniform(min(quality for quality, _ in everything), 40, 15):
        found = choose(front, max_quality=float(limit)).point
        assert found.latency_ms == min(ms for quality, ms in everything if quality <= limit)
        assert found.quality <= limit


@pytest.mark.parametrize("seed", range(2))
def test_the_knee_is_farthest_from_the_chord(tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    latencies = np.sort(generator.uniform(1, 5, 8))
    points = [(float(9 / ms + generator.uniform(0, 0.05)), float(ms)) for ms in latencies]
    front = front_of(tmp_path, points=points)
    values = np.array([front.values(record) for record in front.points])
    scaled = (values - values.min(axis=0)) / (values.max(axis=0) - values.min(axis=0))
    first, last = scaled[0], scaled[-1]
    along = (last - first) / np.linalg.norm(last - first)
    distances = [np.linalg.norm(point - first - along * ((point - first) @ along)) for point in scaled]
    assert choose(front, knee=True).point.record == front.points[int(np.argmax(distances))]


def test_what_cannot_be_kept_names_what_can(tmp_path: Path) -> None:
    front = front_of(tmp_path)
    with pytest.raises(UserError, match="--max-latency: no point of the front takes at most 1 ms/image") as error:
        choose(front, max_latency_ms=1.0)
    assert choose(front, max_latency_ms=float(str(error.value.nearest))).point.latency_ms == 5.0
    with pytest.raises(UserError, match="--max-quality") as error:
        choose(front, max_quality=1.0)
    assert choose(front, max_quality=float(str(error.value.nearest))).point.quality == 10.0
    with pytest.raises(UserError, match="at most one"):
        choose(front, knee=True, max_quality=3.0)


def test_without_a_rule_it_is_the_largest_claim(tmp_path: Path) -> None:
    """Trial 4 has the larger value, at a distance that noise moves further along the front; trial 5 is surer."""
    found = choose(front_of(tmp_path))
    assert (found.point.record.number, found.speedup.is_claim) == (5, True)
    assert found.to_dict()["speedup"]["low"] > 1
    slow = front_of_run(FakeRun(folder=tmp_path / "slow", points=[(11.0, 40.0), (9.9, 60.0)]).make())
    with pytest.raises(UserError, match="No searched trial is faster than what is free at the same fid_fashion_cnn"):
        choose(slow)


def test_a_front_of_two_has_no_knee(tmp_path: Path) -> None:
    front = front_of(tmp_path, points=[(5.0, 5.0), (4.0, 6.0)])
    assert len(front.points) == 2
    with pytest.raises(UserError, match="at least 3 points, but got 2"):
        choose(front, knee=True)


def test_it_says_what_the_dense_base_gives_at_equal_latency(tmp_path: Path) -> None:
    """Between 6 ms at 40 and 10 ms at 16, 7 ms is at 34."""
    found = choose(front_of(tmp_path), max_latency_ms=7.5)
    assert found.point.record.number == 4
    assert found.gain.free_quality == pytest.approx(34.0)
    assert found.gain.speedup == pytest.approx(10 / 7)
    assert any("as fast as the training-free baselines" in line for line in reasons(found))


@pytest.mark.parametrize(("quality", "is_within"), [(14.5, True), (16.0, False)])
def test_a_faster_neighbour_within_noise_is_named(tmp_path: Path, quality: float, is_within: bool) -> None:
    """Paired noise 0.3 by ten degrees of freedom: differences up to 0.95 may be noise."""
    found = choose(front_of(tmp_path, points=[(14.0, 7.0), (quality, 6.5)]), max_latency_ms=7.0)
    assert found.quality_margin == pytest.approx(2**0.5 * half_width(0.3, NOISE_FREEDOM))
    assert (found.faster_as_good is not None) == is_within
    assert any("trial 5 is 7.1% faster" in line for line in reasons(found)) == is_within


def test_a_better_neighbour_that_timing_cannot_tell_is_named_and_unmeasured_noise_is_not(tmp_path: Path) -> None:
    found = choose(front_of(tmp_path, points=[(14.0, 7.0), (12.0, 7.05)], noise=0.0), max_latency_ms=7.0)
    assert found.better_as_fast.record.number == 5
    assert found.quality_margin is None
    assert any("was not measured" in line for line in reasons(found))


def test_confirmed_values_decide(tmp_path: Path) -> None:
    """Trial 4 was lucky: measured again, trial 7 is better within 8 ms."""
    run = FakeRun(folder=tmp_path / "run").make()
    assert choose(front_of_run(run), max_latency_ms=8.0).point.record.number == 4
    confirm(run, {0: (9.0, 20.0), 1: (15.0, 10.0), 2: (38.0, 6.0), 4: (14.0, 7.0), 7: (11.0, 8.0 - 0.1)})
    found = choose(front_of_run(run), max_latency_ms=8.0)
    assert found.is_confirmed
    assert found.point.record.number == 7
    assert found.point.quality == pytest.approx(11.0, abs=0.1)
    assert any("measured again" in line for line in reasons(found))

"""The training stream: paired, resumable, stage-homogeneous, and uniform in time."""

from collections import Counter
from itertools import pairwise

import pytest
import torch

from flexsearch.data.embedded import load_quickstart
from flexsearch.diffusion.batches import BatchStream
from flexsearch.diffusion.timesteps import stage_homogeneous_times
from flexsearch.schedule.clock import Clock

EDGES = (0.0, 0.25, 0.5, 0.75, 1.0)


def stream(seed: int = 0) -> BatchStream:
    return BatchStream(data=load_quickstart(), batch=8, seed=seed, edges=EDGES)


def test_a_batch_depends_on_seed_and_update_alone() -> None:
    first, again, other_seed, next_update = stream().at(5), stream().at(5), stream(1).at(5), stream().at(6)
    assert torch.equal(first.condition["class_labels"], again.condition["class_labels"])
    for name in ("clean", "noise", "time"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.noise, other_seed.noise)
    assert not torch.equal(first.noise, next_update.noise)


def test_every_batch_stays_inside_one_band() -> None:
    for update in range(40):
        time = stream().at(update).time
        band = torch.bucketize(time, torch.tensor(EDGES[1:-1]), right=True)
        assert len(band.unique()) == 1


@pytest.mark.parametrize("edges", [EDGES, (0.0, 0.5, 1.0), (0.0, 0.25, 1 / 3, 0.5, 2 / 3, 0.75, 1.0)])
def test_time_stays_uniform_over_the_run(edges: tuple[float, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    times, bands = [], Counter[int]()
    for update in range(300):
        time, band = stage_homogeneous_times(update, 50, edges=edges, generator=generator)
        times.append(time)
        bands[band] += 1
    for band, (low, high) in enumerate(pairwise(edges)):
        assert bands[band] / 300 == pytest.approx(high - low, abs=0.02)
    quantiles = torch.cat(times).quantile(torch.linspace(0.1, 0.9, 9))
    torch.testing.assert_close(quantiles, torch.linspace(0.1, 0.9, 9), atol=0.02, rtol=0)


def test_even_a_short_run_visits_every_band() -> None:
    generator = torch.Generator()
    bands = {stage_homogeneous_times(update, 1, edges=EDGES, generator=generator)[1] for update in range(6)}
    assert bands == {0, 1, 2, 3}


def test_labels_are_dropped_at_the_stated_rate() -> None:
    batches = stream()
    labels = torch.cat([batches.at(update).condition["class_labels"] for update in range(500)])
    assert (labels == 10).float().mean() == pytest.approx(0.1, abs=0.02)
    assert labels.min() == 0


@pytest.mark.parametrize("shift", [3.0, 0.5])
def test_a_shifted_clock_is_trained_as_densely_as_it_is_sampled(shift: float) -> None:
    """Quantiles of the times are the sampler's own; batches still stay inside one band."""
    generator, times = torch.Generator().manual_seed(0), []
    for update in range(400):
        time, band = stage_homogeneous_times(update, 50, edges=EDGES, generator=generator, shift=shift)
        assert EDGES[band] <= float(time.min())
        assert float(time.max()) <= EDGES[band + 1]
        times.append(time)
    quantiles = torch.cat(times).quantile(torch.linspace(0.1, 0.9, 9))
    visited = torch.tensor(Clock(shift=shift).times(10, num_tokens=64)[1:]).flip(0)
    torch.testing.assert_close(quantiles, visited, atol=0.02, rtol=0)

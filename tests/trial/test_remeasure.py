"""A finished trial measured again: the same model, the same images under the same seed, and nothing trained."""

from dataclasses import replace

import pytest
from builders import Call, nothing

from flexsearch.errors import UserError
from flexsearch.objectives.fid_infinity import BLOCKS, block_name
from flexsearch.schedule import Candidate, DensitySchedule, Sampling
from flexsearch.trial.contract import TrialOrder
from flexsearch.trial.life import run_trial
from flexsearch.trial.remeasure import remeasure

QUALITY = "fid_fashion_cnn"


@pytest.fixture
def order(start: Call) -> TrialOrder:
    return start()


def test_the_same_images_have_the_same_distance(order: TrialOrder) -> None:
    own = run_trial(order, nothing).measurements
    files = sorted(order.run_dir.rglob("*"))
    again = remeasure(replace(order, kind="repeat"), nothing, images=20)
    assert again.measurements[QUALITY].value == pytest.approx(own[QUALITY].value, rel=1e-6)
    assert again.measurements[QUALITY].protocol == own[QUALITY].protocol
    assert again.measurements["latency_ms"].protocol == own["latency_ms"].protocol
    assert again.curve == ()
    assert sorted(order.run_dir.rglob("*")) == files
    assert set(again.seconds) == {"prepare", "latency", "sample", "score"}


def test_blocks_are_the_images_themselves(order: TrialOrder) -> None:
    """The first half of 20 images is the 10 images that the same seed draws alone."""
    run_trial(order, nothing)
    order = replace(order, seed=10_000, kind="repeat")
    whole, half = (remeasure(order, nothing, images=images).measurements for images in (20, 10))
    names = {block_name(QUALITY, index, num) for num in BLOCKS for index in range(num)}
    assert set(whole) == {*names, "latency_ms"}
    first = whole[block_name(QUALITY, 0, 2)]
    assert first.value == pytest.approx(half[QUALITY].value, rel=1e-6)
    assert first.protocol == half[QUALITY].protocol
    assert first.protocol["images"] == 10
    assert first.protocol["seed"] == 10_000
    assert whole[block_name(QUALITY, 1, 2)].value != first.value


def test_the_dense_base_needs_no_kept_model(order: TrialOrder) -> None:
    dense = Candidate(schedule=DensitySchedule.all_dense(8), sampling=Sampling(steps=2))
    order = replace(order, candidate=dense, baseline="dense", fine_tune=False)
    own = run_trial(replace(order, number=4), nothing).measurements
    again = remeasure(replace(order, kind="repeat"), nothing, images=20).measurements
    assert again[QUALITY].value == pytest.approx(own[QUALITY].value, rel=1e-6)


def test_what_cannot_be_measured_is_said(order: TrialOrder) -> None:
    with pytest.raises(UserError, match="trial 3 cannot be measured again: its model is not there"):
        remeasure(order, nothing, images=20)
    with pytest.raises(UserError, match="--images: must be at least 8, but got 7; nearest legal: 8"):
        remeasure(order, nothing, images=7)

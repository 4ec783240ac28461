"""The family `blocksparse` without a model: where it is refused, what it costs, what a profile times."""

from typing import Any

import pytest

from flexsearch.errors import UserError
from flexsearch.latency.axes import Axes
from flexsearch.latency.design import designed_plans
from flexsearch.latency.terms import terms_of
from flexsearch.models.architectures import ARCHITECTURES, known_config
from flexsearch.schedule import Candidate, DensitySchedule, Sampling, Target, TransformerShape, lower
from flexsearch.schedule.families.blocksparse import BLOCKSPARSE, TILE, Blocksparse
from flexsearch.schedule.timetable import Timetable, equal_edges
from flexsearch.schedule.width import Kept
from flexsearch.space import parse_space

WAN, PIXART = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "PixArt-alpha/PixArt-XL-2-1024-MS"


def shape_of(backbone: str, checkpoint: str, **changes: Any) -> TransformerShape:
    config = known_config(checkpoint)
    assert config is not None
    return ARCHITECTURES[backbone].shape_of({**config, **changes})


def schedule_of(shape: TransformerShape, *, clean: int, noise: int | None = None, stages: int = 1) -> DensitySchedule:
    segments = (Blocksparse(depth=shape.num_blocks, blocks=Kept(clean=clean, noise=noise)),)
    return DensitySchedule(segments=segments, timetable=Timetable(edges=equal_edges(stages), grids=(1,) * stages))


def macs_of(shape: TransformerShape, schedule: DensitySchedule) -> int:
    return (
        lower(Candidate(schedule=schedule, sampling=Sampling(steps=1)), Target(shape=shape)).steps[0].graph.macs(shape)
    )


@pytest.mark.parametrize(
    ("backbone", "checkpoint", "message"),
    [
        ("dit", "facebook/DiT-XL-2-512", "attend to at least 4,096, but here it is 1,024"),
        ("latte", "maxin-cn/Latte-1", "attend to at least 4,096, but here it is 1,024"),
        ("sd3", "stabilityai/stable-diffusion-3-medium-diffusers", "joint with text, or linear"),
        ("sana", "Efficient-Large-Model/Sana_1600M_1024px_diffusers", "joint with text, or linear"),
    ],
)
def test_it_is_refused_where_it_has_nothing_to_save(backbone: str, checkpoint: str, message: str) -> None:
    """A plan and a space say why; all of the keys are the dense base, which nobody refuses."""
    shape = shape_of(backbone, checkpoint)
    with pytest.raises(UserError, match=f"segments: the family blocksparse .*{message}"):
        macs_of(shape, schedule_of(shape, clean=4))
    entries = {"segments": [{"family": "blocksparse", "depth": "rest", "blocks": {"clean": {"choice": [4, 8]}}}]}
    with pytest.raises(UserError, match=rf"space\.segments: the family blocksparse .*{message}"):
        parse_space(entries, target=Target(shape=shape))
    assert macs_of(shape, schedule_of(shape, clean=8)) == macs_of(shape, DensitySchedule.all_dense(shape.num_blocks))


@pytest.mark.parametrize(("backbone", "checkpoint"), [("pixart", PIXART), ("wan", WAN)])
def test_products_shrink_and_nothing_else(backbone: str, checkpoint: str) -> None:
    """2 N kappa N C, and (N / 128)^2 C to choose by."""
    shape = shape_of(backbone, checkpoint)
    n, c, dense = shape.grid.num_tokens, shape.width, DensitySchedule.all_dense(shape.num_blocks)
    tiles = -(-n // TILE)
    kept = -(-tiles * 2 // 8)
    saved = 2 * c * (n**2 - tiles * kept * TILE**2) - c * tiles**2
    assert macs_of(shape, dense) - macs_of(shape, schedule_of(shape, clean=2)) == shape.num_blocks * saved
    assert 0.745 < saved / (2 * c * n**2) < 0.75


def test_a_profile_times_every_share_of_the_blocks() -> None:
    shape = shape_of("pixart", PIXART)
    target = Target(shape=shape)
    schedule = schedule_of(shape, clean=6, noise=2, stages=3)
    plan = lower(Candidate(schedule=schedule, sampling=Sampling(steps=6)), target)
    operations = [one for graph in plan.graphs for one in graph.route]
    assert {one.amounts for one in operations} == {(("blocks", eighths),) for eighths in (6, 4, 2)}
    designed = designed_plans(target, families=[Blocksparse], timetables=(), operations=operations, axes=Axes())
    timed = {term.operation for one in designed for term in terms_of(one)}
    assert {one.key for one in operations} <= timed
    named = {str(term) for term in terms_of(plan)}
    assert "blocksparse from 64x64 to 64x64 tokens with {'blocks': 2}" in named
    assert {one.role for one in operations} == {BLOCKSPARSE.name}

"""The paper's schedules (arXiv 2412.06028), exact where it states them, and the rule that scales them elsewhere.

For PixArt-alpha and Latte the paper gives no layout. The XL layout at 8 x 8 tokens has PixArt's FLOPs within 2.1 %;
with r in [0.90, 0.96] on each frame it saves 57 % of Latte-1's, where the paper states 56 % of another Latte's.
"""

from dataclasses import dataclass

from flexsearch.errors import UserError
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families import Segment
from flexsearch.schedule.families.dense import Dense
from flexsearch.schedule.families.keep import Keep
from flexsearch.schedule.families.pooling import Pooling
from flexsearch.schedule.families.sdtm import Sdtm
from flexsearch.schedule.shape import TokenGrid, TransformerShape
from flexsearch.schedule.timetable import Timetable, equal_edges
from flexsearch.schedule.width import Kept, Width

PAPER_STAGES = 4


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A published schedule with the model that it belongs to and the paper's numbers (None where not stated).

    Attributes:
        gflops: the paper's "FLOPs" in units of 1e9, which are MACs.
        fid: the paper's FID (DiT: 50 K images, 250 DDPM steps, guidance 1.5, ADM evaluator).
        is_derived: the paper does not state the layout; this one reproduces its FLOPs within 3 %.
    """

    name: str
    shape: TransformerShape
    schedule: DensitySchedule
    gflops: float | None
    fid: float | None
    is_derived: bool = False


def dit_shape(*, num_blocks: int, width: int, side: int) -> TransformerShape:
    """A class-conditional ImageNet DiT/2 with learned variance on `side x side` tokens."""
    return TransformerShape(
        num_blocks=num_blocks,
        width=width,
        num_heads=16 if width == 1152 else max(1, width // 64),
        grid=TokenGrid(height=side, width=side),
        patch_size=2,
        in_channels=4,
        out_channels=8,
        num_classes=1000,
    )


def text_shape(*, num_blocks: int, width: int, side: int, frames: int | None = None) -> TransformerShape:
    """PixArt-alpha on `side x side` tokens, or with `frames` Latte: captions of 120 T5-XXL tokens, adaLN-single."""
    return TransformerShape(
        num_blocks=num_blocks,
        width=width,
        num_heads=max(1, width // 72),
        grid=TokenGrid(frames=frames or 1, height=side, width=side),
        patch_size=2,
        in_channels=4,
        out_channels=8,
        num_classes=0,
        text_tokens=120,
        text_channels=4096,
        shares_modulation=True,
        has_temporal_blocks=frames is not None,
    )


def flexdit_segments(*, pooling: int, modules: int, sparse: int, dense: int) -> tuple[Segment, ...]:
    """The paper's layout: pooling blocks, equal modules `[1, sparse, 1, 1]`, dense blocks on top."""
    return (Pooling(depth=pooling), *(Sdtm(sparse=sparse) for _ in range(modules)), Dense(depth=dense))


_XL_SEGMENTS = flexdit_segments(pooling=2, modules=4, sparse=3, dense=2)
_B_SEGMENTS = flexdit_segments(pooling=1, modules=2, sparse=2, dense=1)


def _preset(
    name: str,
    shape: TransformerShape,
    segments: tuple[Segment, ...],
    grids: tuple[int, ...],
    gflops: float | None,
    fid: float | None,
    *,
    is_derived: bool = False,
) -> Preset:
    timetable = Timetable(edges=equal_edges(len(grids)), grids=grids)
    schedule = DensitySchedule(segments=segments, timetable=timetable)
    return Preset(name=name, shape=shape, schedule=schedule, gflops=gflops, fid=fid, is_derived=is_derived)


_XL_256 = dit_shape(num_blocks=28, width=1152, side=16)
_XL_512 = dit_shape(num_blocks=28, width=1152, side=32)
_B_256 = dit_shape(num_blocks=12, width=768, side=16)
_PIXART_256 = text_shape(num_blocks=28, width=1152, side=16)
_LATTE_512 = text_shape(num_blocks=28, width=1152, side=32, frames=16)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        _preset("flexdit_xl_256_r44", _XL_256, _XL_SEGMENTS, (12,), 88.91, 2.23),
        _preset("flexdit_xl_256_r61_86", _XL_256, _XL_SEGMENTS, (10, 8, 7, 6), 68.05, 2.38),
        _preset("flexdit_xl_512_r61_86", _XL_512, _XL_SEGMENTS, (20, 16, 14, 12), 286, 2.96),
        _preset("flexdit_xl_512_r90_96", _XL_512, _XL_SEGMENTS, (10, 8, 7, 6), 235, 3.13),
        _preset("flexdit_b_256_r61_86", _B_256, _B_SEGMENTS, (10, 8, 7, 6), 14.34, 8.23, is_derived=True),
        _preset("flexdit_pixart_256", _PIXART_256, _XL_SEGMENTS, (8,), 91.62, 4.29, is_derived=True),
        _preset("flexdit_latte_r90_96", _LATTE_512, _XL_SEGMENTS, (10, 8, 7, 6), None, None, is_derived=True),
    )
}


def paper_schedule(*, num_blocks: int, grid: TokenGrid) -> DensitySchedule:
    """FlexDiT's r in [0.61, 0.86] schedule scaled to another model.

    Exact for 28 and 12 blocks on a 16x16 grid and for 28 blocks on 32x32. Elsewhere the modules (one in seven blocks),
    the ends (one block in fourteen each) and the grids (10, 8, 7, 6 of 16) keep their proportions.

    Raises:
        UserError: fewer than 5 blocks.
    """
    if num_blocks < 5:
        raise UserError(f"the paper's layout needs at least 5 blocks, but got {num_blocks}", nearest=5)
    ends = max(1, round(num_blocks / 14))
    modules = max(1, round(num_blocks / 7))
    while num_blocks - 2 * ends - 3 * modules < 0:
        modules -= 1
    share, extra = divmod(num_blocks - 2 * ends - 3 * modules, modules)
    middle = tuple(Sdtm(sparse=share + (index < extra)) for index in range(modules))
    shorter = min(grid.height, grid.width)
    grids = tuple(max(1, side * shorter // 16) for side in (10, 8, 7, 6))
    return DensitySchedule(
        segments=(Pooling(depth=ends), *middle, Dense(depth=ends)),
        timetable=Timetable(edges=equal_edges(PAPER_STAGES), grids=grids),
    )


DYDIT = {0.7: Width(clean_heads=7, clean_hidden=5), 0.5: Width(clean_heads=4, clean_hidden=4)}
"""By DyDiT's budget lambda (arXiv 2410.03456): 84.33 and 57.88 G of a DiT-XL/2's 118.69 at 256 tokens, FID 2.12 and
2.07. What its routers choose is not published: these are static widths, alike in every block and at every time, of
nearly its MACs, 84.8 and 59.4 G."""


def dydit_schedules(num_blocks: int) -> dict[str, DensitySchedule]:
    """Give DyDiT's budgets as schedules of any model, by name."""
    return {
        f"dydit{budget}": DensitySchedule(segments=(Dense(depth=num_blocks, width=width),))
        for budget, width in DYDIT.items()
    }


def diffcr_schedule(num_blocks: int) -> DensitySchedule:
    """Give the range of DiffCR's ratios (arXiv 2412.16822), all tokens to 0.3 of them, with fewer near noise as its
    abstract says. What its layers learn is not published: this is one static ramp over time, alike in every block."""
    segments = (Keep(depth=num_blocks, scope="block", tokens=Kept(clean=8, noise=3)),)
    timetable = Timetable(edges=equal_edges(PAPER_STAGES), grids=(1,) * PAPER_STAGES)
    return DensitySchedule(segments=segments, timetable=timetable)

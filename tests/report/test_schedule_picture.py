"""A cell per block and stage, in the role's colour, with its grid; the same file every time."""

from pathlib import Path

import pytest
from flexsearch.schedule.shape import TokenGrid
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch

from flexsearch.report.palette import role_colours
from flexsearch.report.schedule_picture import schedule_figure, schedule_svg, write_schedule_picture
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.presets import PRESETS

CASES = {
    name: (PRESETS[name].schedule, PRESETS[name].shape.grid)
    for name in ("flexdit_b_256_r61_86", "flexdit_latte_r90_96")
} | {"dense": (DensitySchedule.all_dense(6), TokenGrid(height=4, width=8))}


@pytest.mark.parametrize("name", CASES)
def test_every_block_of_every_stage_has_a_cell(name: str) -> None:
    schedule, grid = CASES[name]
    (axes,) = schedule_figure(schedule, grid).axes
    cells = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    places = {(int(cell.get_x()), int(cell.get_y())) for cell in cells}
    stages = schedule.timetable.num_stages
    assert len(cells) == schedule.num_blocks * stages
    assert places == {(block, stage) for block in range(schedule.num_blocks) for stage in range(stages)}
    colors = {int(cell.get_x()): to_hex(cell.get_facecolor()) for cell in cells}
    assert [colors[block] for block in range(schedule.num_blocks)] == [role_colours(role)[0] for role in schedule.roles]
    texts = {text.get_text() for text in axes.texts}
    frames = f"{grid.frames}f\n" if grid.frames > 1 else ""
    sparse = schedule.timetable.grids if schedule.has_sparse_tokens else ()
    assert {f"{frames}{side}\N{MULTIPLICATION SIGN}{side}" for side in sparse} <= texts
    assert f"{frames}{grid.height}\N{MULTIPLICATION SIGN}{grid.width}" in texts


def test_labels_stay_inside_their_cells() -> None:
    schedule, grid = CASES["flexdit_latte_r90_96"]
    figure = schedule_figure(schedule, grid)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    wide = axes.get_window_extent().width / schedule.num_blocks
    grids = [text for text in axes.texts if "\N{MULTIPLICATION SIGN}" in text.get_text()]
    assert max(text.get_window_extent().width for text in grids) < wide


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_files(tmp_path: Path, suffix: str) -> None:
    schedule, grid = CASES["dense"]
    write_schedule_picture(schedule, grid, tmp_path / f"one{suffix}", title="dense")
    assert (tmp_path / f"one{suffix}").stat().st_size > 2000
    assert [path.name for path in tmp_path.iterdir()] == [f"one{suffix}"]


def test_the_inline_picture_is_text_in_the_colour_of_the_page() -> None:
    schedule, grid = CASES["flexdit_b_256_r61_86"]
    svg = schedule_svg(schedule, grid)
    assert svg == schedule_svg(schedule, grid)
    assert svg.startswith("<svg")
    assert "currentColor" in svg
    assert ">block</text>" in svg
    assert "<metadata" not in svg

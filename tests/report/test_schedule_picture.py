"""A cell per step, and one per block and stage in the role's colour, with its grid; the same file every time."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch, Rectangle

from flexsearch.report.palette import STEPS, role_colours
from flexsearch.report.schedule_picture import run_figure, run_svg, write_run_picture
from flexsearch.report.trial_page import draw_schedule
from flexsearch.schedule import Cache, Candidate, Dense, DensitySchedule, GuidanceRows, Plan, Sampling, Target, lower
from flexsearch.schedule.presets import PRESETS
from flexsearch.schedule.timetable import Timetable, equal_edges
from flexsearch.schedule.width import Width


def plan_of(preset: str, *, is_dense: bool = False, is_guided: bool = False, steps: int = 5, **sampling: Any) -> Plan:
    chosen = PRESETS[preset]
    schedule = DensitySchedule.all_dense(chosen.shape.num_blocks) if is_dense else chosen.schedule
    candidate = Candidate(schedule=schedule, sampling=Sampling(steps=steps, **sampling))
    return lower(candidate, Target(shape=chosen.shape, is_guided=is_guided))


B, LATTE = "flexdit_b_256_r61_86", "flexdit_latte_r90_96"
CASES = {"image": plan_of(B), "video": plan_of(LATTE), "dense": plan_of(B, is_dense=True)}


@pytest.mark.parametrize("name", CASES)
def test_every_block_of_every_stage_has_a_cell(name: str) -> None:
    plan = CASES[name]
    schedule, grid = plan.candidate.schedule, plan.target.shape.grid
    figure = run_figure(plan)
    figure.draw_without_rendering()
    _, axes = figure.axes
    cells = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    places = {(int(cell.get_x()), int(cell.get_y())) for cell in cells}
    stages = schedule.timetable.num_stages
    assert len(cells) == schedule.num_blocks * stages
    assert places == {(block, stage) for block in range(schedule.num_blocks) for stage in range(stages)}
    colors = {int(cell.get_x()): to_hex(cell.get_facecolor()) for cell in cells}
    assert [colors[block] for block in range(schedule.num_blocks)] == [role_colours(role)[0] for role in schedule.roles]
    wide = axes.get_window_extent().width / schedule.num_blocks
    labels = [text for text in axes.texts if "\N{MULTIPLICATION SIGN}" in text.get_text()]
    assert max(text.get_window_extent().width for text in labels) < wide
    texts = {text.get_text() for text in axes.texts}
    frames = f"{grid.frames}f\n" if grid.frames > 1 else ""
    sparse = schedule.timetable.grids if schedule.has_sparse_tokens else ()
    assert {f"{frames}{side}\N{MULTIPLICATION SIGN}{side}" for side in sparse} <= texts
    assert f"{frames}{grid.height}\N{MULTIPLICATION SIGN}{grid.width}" in texts


def test_a_narrow_block_fills_as_much_of_its_cell_and_says_its_eighths() -> None:
    width = Width(clean_heads=6, noise_heads=4, clean_hidden=4)
    timetable = Timetable(edges=equal_edges(2), grids=(1, 1))
    schedule = DensitySchedule(segments=(Dense(depth=10), Dense(depth=2, width=width)), timetable=timetable)
    plan = lower(Candidate(schedule=schedule, sampling=Sampling(steps=2)), Target(shape=PRESETS[B].shape))
    figure = run_figure(plan)
    _, axes = figure.axes
    cells = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    heights = {(int(one.get_x()), int(one.get_y())): one.get_height() for one in cells if one.get_facecolor()[3] == 1}
    assert heights[11, 0] == pytest.approx(heights[0, 0] * 5 / 8)
    assert heights[11, 1] == pytest.approx(heights[0, 0] / 2)
    texts = [text.get_text() for text in axes.texts]
    assert texts.count("16\N{MULTIPLICATION SIGN}16\n6\N{MIDDLE DOT}4") == 2
    assert "of 8: heads\N{MIDDLE DOT}hidden" in {text.get_text() for text in figure.legends[0].get_texts()}
    assert draw_schedule(schedule, PRESETS[B].shape.grid)[3].split() == ["heads", *["8/8"] * 10, "6/8", "6/8"]


@pytest.mark.parametrize(("suffix", "begins"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_files(tmp_path: Path, suffix: str, begins: bytes) -> None:
    write_run_picture(CASES["dense"], tmp_path / f"one{suffix}", title="dense")
    assert (tmp_path / f"one{suffix}").read_bytes().startswith(begins)
    assert [path.name for path in tmp_path.iterdir()] == [f"one{suffix}"]


def test_the_inline_picture_is_text_in_the_colour_of_the_page() -> None:
    svg = run_svg(CASES["image"])
    assert svg == run_svg(CASES["image"])
    assert svg.startswith("<svg")
    assert "currentColor" in svg
    assert ">block</text>" in svg
    assert "<metadata" not in svg


def strip(plan: Plan) -> list[tuple[str, int]]:
    """The strip of steps: of each cell the letter that its tone stands for, and its lane."""
    steps, _ = run_figure(plan).axes
    letters = {fill: letter for letter, (fill, _) in STEPS.items()}
    lane = max(one.get_height() for one in steps.patches)
    cells = sorted((one for one in steps.patches if isinstance(one, Rectangle)), key=Rectangle.get_x)
    return [(letters[to_hex(one.get_facecolor())], int(one.get_y() // lane)) for one in cells]


def test_the_strip_has_a_cell_per_step_and_row() -> None:
    assert strip(CASES["image"]) == [("F", 0)] * 5
    pattern = "FFpFnn"
    assert [letter for letter, _ in strip(plan_of(B, steps=6, cache=Cache(pattern=pattern)))] == list(pattern)
    guided = plan_of(B, is_guided=True, steps=4, guidance=GuidanceRows(every=2))
    assert strip(guided) == [("F", 0), ("F", 1), ("F", 0), ("F", 0), ("F", 1), ("F", 0)]


@pytest.mark.parametrize("steps", [1, 2, 5, 50, 250])
def test_names_in_the_strip_stay_apart(steps: int) -> None:
    figure = run_figure(plan_of(B, steps=steps))
    figure.draw_without_rendering()
    axes, _ = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert ("F" in {text.get_text() for text in axes.texts}) == (steps <= 50)


def test_a_partial_step_shows_pale_what_it_does_not_compute() -> None:
    plan = plan_of(B, is_dense=True, steps=6, cache=Cache(pattern="FFpFpp", first=2, last=1))
    _, axes = run_figure(plan).axes
    cells = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    dark = {(int(one.get_x()), int(one.get_y())) for one in cells if one.get_facecolor()[3] == 1}
    assert len(cells) == 24
    assert dark == {(block, 0) for block in range(12)} | {(block, 1) for block in (0, 1, 11)}
    assert "partial" in {text.get_text() for text in axes.texts}

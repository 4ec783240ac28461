"""Names in the picture of a front: each beside its point, none over another."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from fake_run import FakeRun
from matplotlib.text import Annotation

from flexsearch.cli.results import front_of_run
from flexsearch.report.plot import front_picture

FEW = [(14.0, 7.0), (22.0, 5.0), (12.0, 9.0)]
MANY = [(float(60 / ms), float(ms)) for ms in np.geomspace(4, 6, 24)]


@pytest.mark.parametrize("points", [FEW, MANY], ids=["few", "many"])
def test_names_cover_neither_each_other_nor_a_point_of_the_front(
    tmp_path: Path, points: list[tuple[float, float]]
) -> None:
    front = front_of_run(FakeRun(folder=tmp_path / "run", points=points).make())
    figure = front_picture(front)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    names = {text.get_text(): text for text in axes.texts if isinstance(text, Annotation)}
    everything = {*(str(record.number) for record in front.searched), "10 steps", "5 steps", "3 steps"}
    assert names.keys() == everything if points is FEW else names.keys() < everything
    boxes = [text.get_window_extent() for text in names.values()]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    marks = axes.transData.transform([(one.latency_ms, one.quality) for one in front.as_searched.searched])
    assert not any(box.contains(x, y) for box in boxes for x, y in marks)

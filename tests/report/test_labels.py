"""Labels of a dense front cover neither each other nor a point, and none is lost."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from fake_run import FakeRun
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from flexsearch.cli.results import front_of_run
from flexsearch.report.labels import Label, place_labels
from flexsearch.report.plot import front_picture


@pytest.mark.parametrize("seed", range(3))
def test_labels_of_a_dense_front(seed: int) -> None:
    generator = np.random.default_rng(seed)
    latencies = np.sort(generator.uniform(1, 10, 24))
    points = [(float(ms), float(30 / ms + generator.uniform(0, 0.5))) for ms in latencies]
    figure = Figure(figsize=(8, 5), dpi=100)
    axes = figure.add_subplot()
    axes.plot(*zip(*points, strict=True), marker="o", markersize=5)
    labels = [Label(text=str(100 + index), point=point, color="black") for index, point in enumerate(points)]
    written = place_labels(axes, labels, points=points, lines=[points])
    assert [label.get_text() for label in written] == [label.text for label in labels]
    boxes = [label.get_window_extent() for label in written]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    for x, y in axes.transData.transform(points):
        assert not any(box.contains(x, y) for box in boxes)
    inside = axes.get_window_extent()
    assert all(inside.contains(*corner) for box in boxes for corner in box.corners())


def test_the_front_names_its_points(tmp_path: Path) -> None:
    front = front_of_run(FakeRun(folder=tmp_path / "run").make())
    (axes,) = front_picture(front).axes
    texts = [text.get_text() for text in axes.texts if isinstance(text, Annotation)]
    searched = [str(record.number) for record in front.points if record.baseline is None]
    assert sorted(texts) == sorted([*searched, "10 steps", "5 steps", "3 steps"])

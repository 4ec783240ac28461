"""What the benchmark's pictures share: no screen, a mean with its spread, a light grid, no frame."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure


def plot_over_seeds(
    axes: plt.Axes, places: Sequence[float], values: np.ndarray, *, colour: Any, band: float, **line: Any
) -> None:
    """Draws the mean of `values` (seeds, places) and, in a band of opacity `band`, the standard deviation."""
    mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1)
    axes.plot(places, mean, color=colour, **line)
    axes.fill_between(places, mean - spread, mean + spread, color=colour, alpha=band, linewidth=0)


def tidy(axes: plt.Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def write(figure: Figure, path: Path, *, foot: float = 0.0) -> None:
    """Writes and closes a figure; `foot` is the share of its height that is kept free below, for a legend."""
    figure.tight_layout(rect=(0, foot, 1, 1))
    figure.savefig(path)
    plt.close(figure)

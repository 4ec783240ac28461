"""How the benchmark's pictures end: a light grid, no frame, written and closed."""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure


def tidy(axes: plt.Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def write(figure: Figure, path: Path, *, foot: float = 0.0) -> None:
    """Writes and closes a figure; `foot` is the share of its height that is kept free below, for a legend."""
    figure.tight_layout(rect=(0, foot, 1, 1))
    figure.savefig(path)
    plt.close(figure)

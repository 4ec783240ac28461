"""How well composed latency predicts candidates that it was not fitted on: table, measures and picture."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau

from flexsearch.config import RunConfig
from flexsearch.latency.profile import LatencyProfile
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.plan import Plan

WORDS = {"residual": "residual", "modules": "modules", "output": "null"}
_DOT, _LINE = "#0b6e99", "#d1495b"


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How well one predictor does."""

    name: str
    median_error: float
    worst_error: float
    kendall_tau: float

    def __str__(self) -> str:
        return (
            f"{self.name}: median error {self.median_error:.1%}, worst {self.worst_error:.1%}, "
            f"Kendall tau {self.kendall_tau:.3f}"
        )


def fit_of(name: str, predicted: NDArray[np.float64], measured: NDArray[np.float64]) -> Fit:
    errors = np.abs(predicted / measured - 1)
    return Fit(
        name=name,
        median_error=float(np.median(errors)),
        worst_error=float(errors.max()),
        kendall_tau=float(kendalltau(predicted, measured).statistic),
    )


def kind_of(plan: Plan) -> str:
    """What is special about how a candidate samples, in words: "modules, null, ab2"; "plain" is nothing."""
    reused = {graph.reuses for graph in plan.graphs}
    kinds = [word for what, word in WORDS.items() if what in reused]
    if any(graph.rows < plan.target.rows for graph in plan.graphs):
        kinds.append("one row")
    if plan.candidate.sampling.solver != "base":
        kinds.append(plan.candidate.sampling.solver)
    return ", ".join(kinds) or "plain"


def fits_by_kind(table: pd.DataFrame) -> list[Fit]:
    """How well the composed latency does on candidates with each word in their kind; a candidate may have several."""
    words = dict.fromkeys(word for kind in table["kind"] for word in kind.split(", "))
    found = []
    for word in sorted(words):
        own = table[[word in kind.split(", ") for kind in table["kind"]]]
        if len(own) > 1:  # one cannot be ranked
            name = f"{word} ({len(own)})"
            found.append(fit_of(name, own["composed_ms"].to_numpy(), own["measured_ms"].to_numpy()))
    return found


def table_of(profile: LatencyProfile, config: RunConfig) -> pd.DataFrame:
    """One row per held-out candidate; latencies in ms per image."""
    table = pd.DataFrame(
        {
            "schedule": str(candidate.schedule),
            "sampler_steps": candidate.sampling.steps,
            "sampling": str(candidate.sampling),
            "kind": kind_of(config.search_space.plan(candidate)),
            "macs_per_image": config.search_space.plan(candidate).macs,
            "measured_ms": one.measured_ms,
            "composed_ms": one.predicted_ms,
        }
        for one in profile.held_out
        for candidate in [Candidate.from_dict(one.candidate)]
    )
    factor = float(np.median(table["measured_ms"] / table["macs_per_image"]))
    table["from_macs_ms"] = table["macs_per_image"] * factor
    return table


def draw(table: pd.DataFrame, fits: list[Fit], title: str, path: Path) -> None:
    """Two scatter plots with the diagonal: composed, and from MACs."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 5.7), dpi=150, layout="constrained")
    shown = table[["measured_ms", "composed_ms", "from_macs_ms"]].to_numpy()
    low, high = shown.min() * 0.9, shown.max() * 1.1
    for axes, column, fit in zip(panels, ("composed_ms", "from_macs_ms"), fits, strict=True):
        axes.plot([low, high], [low, high], color=_LINE, linewidth=1, zorder=1)
        axes.scatter(table["measured_ms"], table[column], s=22, color=_DOT, alpha=0.75, linewidth=0, zorder=2)
        axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), aspect="equal")
        axes.set_xlabel("measured end to end, ms per image")
        axes.set_title(
            f"{fit.name}\nmedian error {fit.median_error:.1%}, Kendall tau {fit.kendall_tau:.3f}", fontsize=10
        )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(matplotlib.ticker.LogFormatter(minor_thresholds=(2, 0.5)))
            axis.set_minor_formatter(matplotlib.ticker.LogFormatter(minor_thresholds=(2, 0.5)))
        axes.grid(which="both", color="#e4e7ea", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("predicted, ms per image")
    figure.suptitle(title, fontsize=9, color="#5a646c")
    figure.savefig(path)
    plt.close(figure)


def both_fits(table: pd.DataFrame) -> list[Fit]:
    """How well the sum of operation times does, and multiply-accumulates alone."""
    measured = table["measured_ms"].to_numpy()
    return [
        fit_of("sum of operation times", table["composed_ms"].to_numpy(), measured),
        fit_of("multiply-accumulates", table["from_macs_ms"].to_numpy(), measured),
    ]

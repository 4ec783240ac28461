"""How well the sum of operation times predicts whole images, on candidates that it was not fitted on.

    uv run python experiments/latency_profile/run.py --out experiments/latency_profile/cpu

    uv run python experiments/latency_profile/run.py --variants --out experiments/latency_profile/cpu_variants

About 3 minutes on a CPU for the quickstart's space. `--space` takes any other, also without the base's weights; on a
machine with a GPU that is what is timed. `--variants` searches sampling too: solvers, reuse over steps, and guidance's
rows where the space is guided; the error is then told for each kind of candidate as well.

Beside the composed latency stands what multiply-accumulates alone predict: MACs of all sampler steps, times the one
factor that fits the held-out candidates best. Writes `held_out.csv`, `profile.json` and `latency_profile.png`.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau

from flexsearch.config import RunConfig, load_config
from flexsearch.latency.profile import LatencyProfile
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.plan import Plan
from flexsearch.trial.profiles import make_profile

VARIANTS = {
    "space.solver": "{choice: [base, ab2, dpmsolver++, unipc]}",
    "space.cache": (
        "{full: {choice: [1, 0.67, 0.5, 0.4, 0.33]}, warmup: {int: [1, 2]}, skew: {choice: [0, 1]}, "
        "nulls: {choice: [0, 0.5, 1]}, first: {choice: [0, 1, 2]}, last: {choice: [0, 1]}, order: {choice: [0, 1]}, "
        "reuse: {choice: [span, modules]}}"
    ),
}
WORDS = {"residual": "residual", "modules": "modules", "output": "null"}
GUIDED = {"space.guidance": "{to: {choice: [0.6, 0.8, 1]}, every: {choice: [1, 2]}}"}
"""The same where the space is guided."""
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
    low, high = table["measured_ms"].min() * 0.9, table["measured_ms"].max() * 1.1
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", type=Path, default=Path("search_spaces/quickstart.yaml"))
    parser.add_argument("--set", action="append", default=[], help="override a field, as in flexsearch run")
    parser.add_argument("--variants", action="store_true", help="search sampling too")
    parser.add_argument("--held-out", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    config = load_config(arguments.space, arguments.set)
    if arguments.variants:
        variants = {**VARIANTS, **(GUIDED if config.sampling.is_guided else {})}
        config = load_config(
            arguments.space, [*(f"{field}={value}" for field, value in variants.items()), *arguments.set]
        )
    profile = make_profile(
        config.trial_settings,
        others=(),
        rounds=arguments.rounds,
        num_held_out=arguments.held_out,
        report=lambda what, done, total: print(f"{what}: {done} of {total}", file=sys.stderr),
    )
    table, protocol = table_of(profile, config), profile.protocol
    measured = table["measured_ms"].to_numpy()
    fits = [
        fit_of("sum of operation times", table["composed_ms"].to_numpy(), measured),
        fit_of("multiply-accumulates", table["from_macs_ms"].to_numpy(), measured),
    ]
    title = (
        f"{config.name}, {len(table)} candidates outside the fit; {protocol['device']}, batch {protocol['batch']}, "
        f"{protocol['dtype']}, guidance {protocol['guidance']:g}, torch {protocol['torch']}"
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(arguments.out / "held_out.csv", index=False, float_format="%.5g")
    (arguments.out / "profile.json").write_text(json.dumps(profile.to_dict(), indent=2))
    draw(table, fits, title, arguments.out / "latency_profile.png")
    print(title)
    for fit in [*fits, *(fits_by_kind(table) if arguments.variants else [])]:
        print(fit)

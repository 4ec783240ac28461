"""How well each cheap signal ranks schedules by what a long fine-tune makes of them, and what it costs.

    uv run python experiments/density_bench/ranking.py

Reads `table.parquet`; writes `ranking.csv` and `ranking.png`. "Converged" is the longest fine-tune.

- tau: Kendall's, between signal and converged value, of schedules at equal sampler steps (5 and 10, mean), with a 95 %
  interval from schedules drawn with replacement. Two noisy measurements never reach 1: `tau_of_halves` is that of the
  converged value with itself, from one half of the images each.
- tau_candidates: the same over all candidates, schedules at every number of sampler steps, as a search ranks them;
  empty where the signal was not judged at all five. Steps decide most of these pairs: look at that of MACs beside it.
  Losses, distances to the dense output, and ranks within equal steps do not know the steps, and are low here.
- regret: best converged value among the 3 schedules that the signal likes most, minus the best of all.
- cost: core seconds of the signal over those of the converged value, per schedule, each with its share of the warm
  start; the share falls with the number of schedules that are tried.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from extrapolation import gaussian_process, power_law, quality_of_search
from scipy.stats import kendalltau

HERE = Path(__file__).parent
QUALITY = "fid_fashion_cnn"
TOP = 3
RESAMPLES = 500
SCHEDULES_TRIED = 42
LATE = [5, 10]
"""Sampler steps at which all signals are known."""
LOWEST = 0.4
"""Of the picture's axis; what is below is named at its foot."""
SHOWN = {
    QUALITY: ("#0b6e99", "distance to real images"),
    "fid_to_dense": ("#2f9e44", "distance to the dense base's samples from the same noise"),
    "feature_distance": ("#d1495b", "squared distance of features, sample by sample, to the same"),
    "pixel_distance": ("#c77d0a", "squared distance of pixels, sample by sample, to the same"),
    "loss": ("#7b5ea7", "training loss on fixed batches"),
    "power law": ("#8fc1d4", "power law through the distances so far"),
    "Gaussian process": ("#888888", "Gaussian process over schedules and updates"),
    "macs": ("#222222", "MACs, nothing evaluated"),
}
STARTS = {
    "warm": "-",
    "plain": ":",
    "uniform-500": "--",
    "uniform-2000": "-.",
    "sandwich-2000": (0, (6, 1, 1, 1, 1, 1)),
}
"""Line styles, by where fine-tunes start."""

Signal = tuple[str, pd.DataFrame, pd.DataFrame]
"""Name, values, and core seconds: rows by schedule, columns by sampler steps."""


def pivot(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    return rows.pivot_table(index="schedule_digest", columns="sampler_steps", values=column)


def share(rows: pd.DataFrame) -> float:
    """Each schedule's share of the warm start, in core seconds."""
    return float(rows["seconds_start"].iloc[0]) / SCHEDULES_TRIED


def last_points(table: pd.DataFrame, longest: int) -> Iterator[Signal]:
    """Signals that look at one point of the curve."""
    for (start, updates), rows in table[table["updates"] < longest].groupby(["start", "updates"]):
        training = pivot(rows, "seconds_training") + share(rows)
        judging, losses = pivot(rows, "seconds_judging"), pivot(rows, "seconds_loss")
        images = float(rows["images"].iloc[0])
        costs = {
            QUALITY: judging,
            "fid_200": judging * 200 / images,
            "fid_to_dense": judging,
            "feature_distance": judging,
            "pixel_distance": judging,
            "loss": losses,
            "distance_to_dense": losses,
        }
        for name, cost in costs.items():
            yield f"{start} {updates}: {name}", pivot(rows, name), training + cost


def without_training(table: pd.DataFrame) -> Iterator[Signal]:
    """Signals that cost nothing beside the warm start: more work is better; and that together with the first rung."""
    rows = table[(table["start"] == "warm") & (table["updates"] == 0)]
    work, first = -pivot(rows, "macs"), pivot(rows, QUALITY)
    yield "free: macs", work * work.columns, work * 0.0
    yield (
        "warm 0: fid_fashion_cnn and macs, mean rank",
        first.rank() + work.rank(),
        pivot(rows, "seconds_judging") + share(rows),
    )


def smoothed(table: pd.DataFrame, longest: int, dense: pd.Series) -> Iterator[Signal]:
    """The distance after some updates, as the search's own quality model sees it."""
    for (start, updates), rows in table[table["updates"] < longest].groupby(["start", "updates"]):
        cost = pivot(rows, "seconds_training") + share(rows) + pivot(rows, "seconds_judging")
        yield f"{start} {updates}: quality model", quality_of_search(rows, column=QUALITY, dense=dense), cost


def whole_curves(table: pd.DataFrame, longest: int) -> Iterator[Signal]:
    """Signals that carry the curve on."""
    warm = table[(table["start"] == "warm") & (table["updates"] < longest)]
    ended = table.loc[(table["start"] == "warm") & (table["updates"] == longest), "schedule_digest"]
    warm = warm[warm["schedule_digest"].isin(ended)]  # others have shorter curves
    for up_to in sorted(warm["updates"].unique())[2:]:
        curve = warm[warm["updates"] <= up_to]
        judged = pivot(
            curve.groupby(["schedule_digest", "sampler_steps"], as_index=False)["seconds_judging"].sum(),
            "seconds_judging",
        )
        cost = judged + pivot(curve[curve["updates"] == up_to], "seconds_training") + share(warm)
        for name, predict in (("power law", power_law), ("Gaussian process", gaussian_process)):
            yield f"warm 0 to {up_to}: {name}", predict(curve, column=QUALITY, at=longest), cost


def tau(signal: pd.DataFrame, converged: pd.DataFrame) -> float:
    """Mean over sampler steps."""
    return float(np.mean([kendalltau(signal[steps], converged[steps]).statistic for steps in converged]))


def regret(signal: pd.DataFrame, converged: pd.DataFrame) -> float:
    """Mean over sampler steps."""
    chosen = {steps: signal[steps].nsmallest(TOP).index for steps in converged}
    return float(np.mean([converged[steps].loc[chosen[steps]].min() - converged[steps].min() for steps in converged]))


def tau_candidates(signal: pd.DataFrame, converged: pd.DataFrame) -> float:
    """Over schedules and sampler steps together; not a number where the signal was not judged at all of them."""
    if not converged.columns.isin(signal.columns).all():
        return float("nan")
    return float(kendalltau(signal[converged.columns], converged).statistic)


def interval(signal: pd.DataFrame, converged: pd.DataFrame, judge: Callable[..., float]) -> tuple[float, float]:
    """95 % of `judge` over schedules drawn with replacement."""
    generator = np.random.default_rng(0)
    draws = [generator.choice(len(converged), len(converged)) for _ in range(RESAMPLES)]
    low, high = np.nanquantile([judge(signal.iloc[rows], converged.iloc[rows]) for rows in draws], [0.025, 0.975])
    return float(low), float(high)


def signals(table: pd.DataFrame, longest: int, dense: pd.Series) -> Iterator[Signal]:
    yield from without_training(table)
    yield from last_points(table, longest)
    yield from smoothed(table, longest, dense)
    yield from whole_curves(table, longest)


def study(table: pd.DataFrame, dense: pd.Series) -> pd.DataFrame:
    """One row per signal, best first. `dense` is the dense base's distance by sampler steps."""
    longest = int(table.loc[table["start"] == "warm", "updates"].max())
    final = table[(table["start"] == "warm") & (table["updates"] == longest)]
    everywhere, to_dense = pivot(final, QUALITY), pivot(final, "fid_to_dense")[LATE]
    converged = everywhere[LATE]
    seconds = pivot(final, "seconds_training") + pivot(final, "seconds_judging") + share(final)
    halves = tau(pivot(final, "fid_first_half")[LATE], pivot(final, "fid_second_half")[LATE])
    found = []
    for name, values, cost in signals(table, longest, dense):
        if not converged.index.isin(values.index).all():
            continue
        values, cost = values.loc[converged.index], cost.loc[converged.index, LATE]
        late = values[LATE]
        low, high = interval(late, converged, tau)
        found.append(
            {
                "signal": name,
                "tau": tau(late, converged),
                "tau_low": low,
                "tau_high": high,
                "tau_candidates": tau_candidates(values, everywhere),
                "tau_fid_to_dense": tau(late, to_dense),
                "regret": regret(late, converged),
                "core_seconds": float(cost.to_numpy().mean()),
                "cost": float((cost / seconds[LATE]).to_numpy().mean()),
                "schedules": len(converged),
                "converged_updates": longest,
                "tau_of_halves": halves,
            }
        )
    return pd.DataFrame(found).sort_values("tau", ascending=False, ignore_index=True)


def draw(found: pd.DataFrame, path: Path) -> None:
    """A line per kind of signal and start, a point per number of own updates; `STARTS` has the styles of lines."""
    named = found["signal"].str.extract(r"^(?P<start>[^ :]+):? (?:0 to )?(?:\d+: )?(?P<kind>.*)$")
    table = pd.concat([found, named], axis=1).sort_values("cost")
    figure, axes = plt.subplots(figsize=(8.5, 5.5), dpi=150)
    below = []
    for (start, kind), rows in table.groupby(["start", "kind"], sort=False):
        if kind not in SHOWN:
            continue
        colour, label = SHOWN[kind]
        is_first = label not in axes.get_legend_handles_labels()[1]
        axes.plot(
            rows["cost"],
            rows["tau"],
            STARTS.get(start, "-"),
            marker="o",
            markersize=4,
            color=colour,
            label=label if is_first else None,
        )
        below += [f"{row.signal}: {row.tau:.2f}" for row in rows.itertuples() if row.tau < LOWEST]
    axes.set_ylim(LOWEST, 1.0)
    if below:
        axes.annotate("below: " + "; ".join(below), (0.99, 0.01), xycoords="axes fraction", ha="right", fontsize=7)
    halves = float(found["tau_of_halves"].iloc[0])
    axes.axhline(halves, color="#444444", linewidth=0.8)
    axes.annotate("converged distance, half of the images against half", (0.0, halves + 0.005), fontsize=7)
    axes.axhline(0.9, color="#888888", linewidth=0.8, linestyle=":")
    axes.axvline(0.2, color="#888888", linewidth=0.8, linestyle=":")
    axes.set_xlabel("core seconds per schedule, over those of the converged fine-tune")
    axes.set_ylabel("Kendall's tau with the converged distance, at equal sampler steps")
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda at: [label for _, label in SHOWN.values()].index(labels[at]))
    axes.legend(
        [handles[at] for at in order],
        [labels[at] for at in order],
        frameon=False,
        fontsize=8,
        loc="lower right",
        bbox_to_anchor=(1.0, 0.04),
    )
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=HERE / "table.parquet")
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    rows = pd.read_parquet(arguments.table)
    rows = rows[rows["seed"] == 0]
    dense = rows[rows["baseline"] == "dense"].set_index("sampler_steps")[QUALITY]
    found = study(rows[rows["baseline"].isna()], dense)
    found.to_csv(arguments.out / "ranking.csv", index=False, float_format="%.4g")
    draw(found, arguments.out / "ranking.png")
    print(found.to_string(index=False, float_format="%.3g"))

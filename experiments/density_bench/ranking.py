"""How well each cheap signal ranks schedules by what a long fine-tune makes of them, and what it costs.

    uv run python experiments/density_bench/ranking.py

Reads `table.parquet`; writes `ranking.csv` and `ranking.png`. "Converged" is the longest fine-tune.

- tau: Kendall's, between signal and converged value, of schedules at equal sampler steps (5 and 10, mean), with a 95 %
  interval from schedules drawn with replacement. Two noisy measurements never reach 1: `tau_of_halves` is that of the
  converged value with itself, from one half of the images each.
- tau_candidates: the same, interval included, over all candidates, schedules at every number of sampler steps, as a
  search ranks them; empty where the signal was not judged at all five. Steps decide most of these pairs: look at MACs,
  and at the dense base's distance, which knows of a candidate only its steps. Losses, distances to the dense base and
  ranks within equal steps do not know the steps, and are low here.
- front_share: of all candidates, take those that no other beats in signal and latency: the hypervolume of their
  converged values (logarithm of distance, and latency) over that of the converged front.
- tau_seed_1, tau_candidates_seed_1, front_share_seed_1, regret_seed_1: the same of short trials under another seed of
  training and noise. Those of seed 0 draw the first images from the noise of the converged ones, which flatters them.
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
import moocore
import numpy as np
import pandas as pd
from extrapolation import gaussian_process, power_law, quality_of_search
from figures import tidy, write
from matplotlib.lines import Line2D
from scipy.stats import kendalltau

HERE = Path(__file__).parent
QUALITY = "fid_fashion_cnn"
TOP = 3
RESAMPLES = 500
SCHEDULES_TRIED = 42
LATE = [5, 10]
"""Sampler steps at which all signals are known."""
STEPS_ALONE = "dense base at these steps"
LOWEST = 0.4
"""Of the picture's axis; what is below is named at its foot."""
SHOWN = {
    QUALITY: ("#0b6e99", "distance to real images"),
    "outlook": ("#111111", "outlook: the dense base's distance at these steps, times 1 + drift"),
    "fid_to_dense": ("#2f9e44", "distance to the dense base's samples from the same noise"),
    "feature_distance": ("#d1495b", "squared distance of features, sample by sample, to the same"),
    "pixel_distance": ("#c77d0a", "squared distance of pixels, sample by sample, to the same"),
    "loss": ("#7b5ea7", "training loss on fixed batches"),
    "power law": ("#8fc1d4", "power law through the distances so far"),
    "Gaussian process": ("#888888", "Gaussian process over schedules and updates"),
    "macs": ("#aaaaaa", "MACs, nothing evaluated"),
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


def last_points(table: pd.DataFrame, longest: int, dense: pd.Series) -> Iterator[Signal]:
    """Signals that look at one point of the curve."""
    table = table.assign(outlook=table["sampler_steps"].map(dense) * (1.0 + table["drift"]))
    for (start, updates), rows in table[table["updates"] < longest].groupby(["start", "updates"]):
        training = pivot(rows, "seconds_training") + share(rows)
        judging, losses = pivot(rows, "seconds_judging"), pivot(rows, "seconds_loss")
        images = float(rows["images"].iloc[0])
        costs = {
            QUALITY: judging,
            "outlook": judging,
            "fid_200": judging * 200 / images,
            "fid_to_dense": judging,
            "feature_distance": judging,
            "pixel_distance": judging,
            "loss": losses,
            "distance_to_dense": losses,
        }
        for name, cost in costs.items():
            yield f"{start} {updates}: {name}", pivot(rows, name), training + cost


def without_training(table: pd.DataFrame, dense: pd.Series) -> Iterator[Signal]:
    """Signals that cost nothing beside the warm start: more work is better; what the dense base reaches at the steps;
    and work together with the first rung."""
    rows = table[(table["start"] == "warm") & (table["updates"] == 0)]
    work, first = -pivot(rows, "macs"), pivot(rows, QUALITY)
    yield "free: macs", work * work.columns, work * 0.0
    yield f"free: {STEPS_ALONE}", work * 0.0 + dense[work.columns], work * 0.0
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


def other_outlooks(table: pd.DataFrame, dense: pd.Series) -> Iterator[Signal]:
    """What else the outlook could have been, from the same measurements."""
    rows = table[(table["start"] == "warm") & (table["updates"] == 40)]
    cost = pivot(rows, "seconds_training") + share(rows) + pivot(rows, "seconds_judging")
    drift, at_steps = pivot(rows, "drift"), dense[pivot(rows, "drift").columns]
    for weight in (0.5, 2.0, 4.0):
        yield f"warm 40: outlook with {weight:g} times the drift", at_steps * (1.0 + weight * drift), cost
    yield "warm 40: outlook as a product with the drift", at_steps * drift, cost


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


def front_share(signal: pd.DataFrame, converged: pd.DataFrame, latency: pd.DataFrame) -> float:
    """Converged hypervolume of the front that the signal names, over that of the converged front."""
    if not converged.columns.isin(signal.columns).all():
        return float("nan")
    told, times = signal[converged.columns].to_numpy().ravel(), latency.to_numpy().ravel()
    points = np.stack([np.log(converged.to_numpy().ravel()), times], axis=1)
    reference = points.max(axis=0)
    named = points[moocore.is_nondominated(np.stack([told, times], axis=1), keep_weakly=True)]
    return float(moocore.hypervolume(named, ref=reference) / moocore.hypervolume(points, ref=reference))


def interval(signal: pd.DataFrame, converged: pd.DataFrame, judge: Callable[..., float]) -> tuple[float, float]:
    """95 % of `judge` over schedules drawn with replacement."""
    generator = np.random.default_rng(0)
    draws = [generator.choice(len(converged), len(converged)) for _ in range(RESAMPLES)]
    found = [judge(signal.iloc[rows], converged.iloc[rows]) for rows in draws]
    if np.isnan(found).all():  # the signal is the same for all schedules
        return float("nan"), float("nan")
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)


def signals(table: pd.DataFrame, longest: int, dense: pd.Series) -> Iterator[Signal]:
    yield from without_training(table, dense)
    yield from last_points(table, longest, dense)
    yield from other_outlooks(table, dense)
    yield from smoothed(table, longest, dense)
    yield from whole_curves(table, longest)


def study(table: pd.DataFrame, dense: pd.Series) -> pd.DataFrame:
    """One row per signal, best first. `dense` is the dense base's distance by sampler steps."""
    longest = int(table.loc[table["start"] == "warm", "updates"].max())
    final = table[(table["start"] == "warm") & (table["updates"] == longest)]
    everywhere, to_dense = pivot(final, QUALITY), pivot(final, "fid_to_dense")[LATE]
    converged = everywhere[LATE]
    latency = pivot(final, "latency_ms")
    seconds = pivot(final, "seconds_training") + pivot(final, "seconds_judging") + share(final)
    halves = tau(pivot(final, "fid_first_half")[LATE], pivot(final, "fid_second_half")[LATE])
    found = []
    for name, values, cost in signals(table, longest, dense):
        if not converged.index.isin(values.index).all():
            continue
        values, cost = values.loc[converged.index], cost.loc[converged.index, LATE]
        late = values[LATE]
        low, high = interval(late, converged, tau)
        candidates_low, candidates_high = interval(values, everywhere, tau_candidates)
        found.append(
            {
                "signal": name,
                "tau": tau(late, converged),
                "tau_low": low,
                "tau_high": high,
                "tau_candidates": tau_candidates(values, everywhere),
                "tau_candidates_low": candidates_low,
                "tau_candidates_high": candidates_high,
                "tau_fid_to_dense": tau(late, to_dense),
                "regret": float("nan") if np.isnan(low) else regret(late, converged),
                "front_share": front_share(values, everywhere, latency),
                "core_seconds": float(cost.to_numpy().mean()),
                "cost": float((cost / seconds[LATE]).to_numpy().mean()),
                "schedules": len(converged),
                "converged_updates": longest,
                "tau_of_halves": halves,
            }
        )
    return pd.DataFrame(found).sort_values("tau", ascending=False, ignore_index=True)


def with_other_seed(table: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """The study with more columns: the same of short trials under the other seed, of training and of sampling noise,
    with the same converged values (of seed 0; there are no others). These share nothing by chance."""
    searched = table["baseline"].isna()
    converged = searched & (table["seed"] == 0) & (table["updates"] == found["converged_updates"].iloc[0])
    other = table["seed"] == 1
    dense = table[other & (table["baseline"] == "dense")].set_index("sampler_steps")[QUALITY]
    again = study(table[(other & searched) | converged], dense).set_index("signal")
    return found.assign(
        tau_seed_1=found["signal"].map(again["tau"]),
        tau_candidates_seed_1=found["signal"].map(again["tau_candidates"]),
        front_share_seed_1=found["signal"].map(again["front_share"]),
        regret_seed_1=found["signal"].map(again["regret"]),
    )


def draw(found: pd.DataFrame, path: Path) -> None:
    """Two panels: schedules at equal steps, and all candidates. A line per kind of signal and start, a point per number
    of own updates; `SHOWN` has the colours, `STARTS` the styles."""
    named = found["signal"].str.extract(r"^(?P<start>[^ :]+):? (?:0 to )?(?:\d+: )?(?P<kind>.*)$")
    table = pd.concat([found, named], axis=1).sort_values("cost")
    figure, (left, right) = plt.subplots(ncols=2, figsize=(12, 6.6), dpi=130, sharex=True)
    for axes, column in ((left, "tau"), (right, "tau_candidates")):
        _panel(axes, table.dropna(subset=[column]), column)
    halves, steps = float(found["tau_of_halves"].iloc[0]), table[table["kind"] == STEPS_ALONE]["tau_candidates"]
    left.axhline(halves, color="#444444", linewidth=0.8)
    left.annotate("converged distance, half of the images against half", (0.0, halves + 0.005), fontsize=7)
    right.axhline(float(steps.iloc[0]), color="#444444", linewidth=0.8)
    right.annotate("steps alone", (1.0, float(steps.iloc[0]) - 0.016), fontsize=7, ha="right")
    left.set_ylabel("Kendall's tau with the converged distance")
    left.set_title("schedules at equal sampler steps", fontsize=10)
    right.set_title("all candidates: schedules and sampler steps", fontsize=10)
    starts = [start for start in STARTS if start in set(table["start"])]
    lines = [Line2D([], [], color=colour, marker="o", markersize=4, label=label) for colour, label in SHOWN.values()]
    lines += [Line2D([], [], color="#555555", linestyle=STARTS[start], label=f"start: {start}") for start in starts]
    figure.legend(handles=lines, frameon=False, fontsize=8, loc="lower center", ncols=3)
    write(figure, path, foot=0.17)


def _panel(axes: plt.Axes, table: pd.DataFrame, column: str) -> None:
    below = []
    for (start, kind), rows in table.groupby(["start", "kind"], sort=False):
        if kind not in SHOWN:
            continue
        style = STARTS.get(start, "-")
        axes.plot(rows["cost"], rows[column], linestyle=style, marker="o", markersize=4, color=SHOWN[kind][0])
        low = rows[rows[column] < LOWEST]
        below += [f"{signal}: {value:.2f}" for signal, value in zip(low["signal"], low[column], strict=True)]
    axes.set_ylim(LOWEST, 1.0)
    if below:
        axes.annotate("\n".join(["below:", *below]), (0.99, 0.01), xycoords="axes fraction", ha="right", fontsize=7)
    axes.axhline(0.9, color="#888888", linewidth=0.8, linestyle=":")
    axes.axvline(0.2, color="#888888", linewidth=0.8, linestyle=":")
    axes.set_xlabel("core seconds per schedule, over those of the converged fine-tune")
    tidy(axes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=HERE / "table.parquet")
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    table = pd.read_parquet(arguments.table)
    rows = table[table["seed"] == 0]
    dense = rows[rows["baseline"] == "dense"].set_index("sampler_steps")[QUALITY]
    found = with_other_seed(table, study(rows[rows["baseline"].isna()], dense))
    found.to_csv(arguments.out / "ranking.csv", index=False, float_format="%.4g")
    draw(found, arguments.out / "ranking.png")
    print(found.to_string(index=False, float_format="%.3g"))

"""How well each cheap signal ranks schedules by what a long fine-tune makes of them, and what it costs.

    uv run python experiments/density_bench/ranking.py

Reads `table.parquet`; writes `ranking.csv` and `ranking.png`. "Converged" is the longest fine-tune, of which there are
two per schedule, with other seeds of training and noise. A signal of one seed is held against what converged under the
other, with which it shares nothing by chance; where both seeds have the signal, numbers are means of the two ways.

- tau: Kendall's, between signal and converged value, of schedules at equal sampler steps (5 and 10, mean), with a 95 %
  interval from schedules drawn with replacement. Two noisy measurements never reach 1: the signal "converged distance"
  is the converged value itself, under the other seed.
- tau_candidates: the same, interval included, over all candidates, schedules at every number of sampler steps, as a
  search ranks them; empty where the signal was not judged at all five. Steps decide most of these pairs: look at MACs,
  and at the dense base's distance, which knows of a candidate only its steps. Losses, distances to the dense base and
  ranks within equal steps do not know the steps, and are low here.
- front_share: of all candidates, take those that no other beats in signal and latency: the hypervolume of their
  converged values (logarithm of distance, and latency) over that of the converged front.
- regret: best converged value among the 3 schedules that the signal likes most, minus the best of all.
- ..._seed_0, ..._seed_1: each of these by the signal's seed.
- tau_same_seed, tau_candidates_same_seed: against what converged under the signal's own seed, whose images are drawn
  from the same noise: what is above `tau` flatters.
- cost: core seconds of the signal over those of the converged value, per schedule, each with its share of the warm
  start; the share falls with the number of schedules that are tried.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import moocore
import numpy as np
import pandas as pd
from figures import tidy, write
from matplotlib.lines import Line2D
from scipy.stats import kendalltau
from shipped import reader

QUALITY = "fid_fashion_cnn"
TOP = 3
RESAMPLES = 500
SCHEDULES_TRIED = 42
LATE = [5, 10]
"""Sampler steps at which all signals are known."""
SEEDS = (0, 1)
AGAIN = "again: converged distance"
"""The signal that costs all: another seed's converged value."""
STEPS_ALONE = "dense base at these steps"
BY_SEED = ("tau", "tau_candidates", "front_share", "regret")
LOWEST = 0.4
"""Of the picture's axis; what is below is named at its foot."""
SHOWN = {
    QUALITY: ("#0b6e99", "distance to real images"),
    "outlook": ("#111111", "outlook: the dense base's distance at these steps, times 1 + drift"),
    "fid_to_dense": ("#2f9e44", "distance to the dense base's samples from the same noise"),
    "feature_distance": ("#d1495b", "squared distance of features, sample by sample, to the same"),
    "pixel_distance": ("#c77d0a", "squared distance of pixels, sample by sample, to the same"),
    "loss": ("#7b5ea7", "training loss on fixed batches"),
    "macs": ("#aaaaaa", "MACs, nothing evaluated"),
}

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
    for updates, rows in table[table["updates"] < longest].groupby("updates"):
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
            yield f"{updates} updates: {name}", pivot(rows, name), training + cost


def without_training(table: pd.DataFrame, dense: pd.Series) -> Iterator[Signal]:
    """Signals that cost nothing beside the warm start: more work is better; what the dense base reaches at the steps;
    and work together with the first rung."""
    rows = table[table["updates"] == 0]
    work, first = -pivot(rows, "macs"), pivot(rows, QUALITY)
    yield "free: macs", work * work.columns, work * 0.0
    yield f"free: {STEPS_ALONE}", work * 0.0 + dense[work.columns], work * 0.0
    yield (
        "0 updates: fid_fashion_cnn and macs, mean rank",
        first.rank() + work.rank(),
        pivot(rows, "seconds_judging") + share(rows),
    )


def other_outlooks(table: pd.DataFrame, dense: pd.Series) -> Iterator[Signal]:
    """What else the outlook could have been, from the same measurements."""
    rows = table[table["updates"] == 40]
    cost = pivot(rows, "seconds_training") + share(rows) + pivot(rows, "seconds_judging")
    paired_distance, at_steps = pivot(rows, "drift"), dense[pivot(rows, "drift").columns]
    for weight in (0.5, 2.0, 4.0):
        yield f"40 updates: outlook with {weight:g} times the drift", at_steps * (1.0 + weight * paired_distance), cost
    yield "40 updates: outlook as a product with the drift", at_steps * paired_distance, cost


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


def interval(
    pairs: Sequence[tuple[pd.DataFrame, pd.DataFrame]], evaluator: Callable[..., float]
) -> tuple[float, float]:
    """95 % of the mean of `judge` over pairs of signal and converged values, over schedules drawn with replacement."""
    generator, num = np.random.default_rng(0), len(pairs[0][1])
    draws = [generator.choice(num, num) for _ in range(RESAMPLES)]
    found = [
        np.mean([evaluator(signal.iloc[rows], converged.iloc[rows]) for signal, converged in pairs]) for rows in draws
    ]
    if np.isnan(found).all():  # the signal is the same for all schedules
        return float("nan"), float("nan")
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True, kw_only=True)
class Converged:
    """What became of schedules under one seed: rows by schedule, columns by sampler steps."""

    updates: int
    quality: pd.DataFrame
    latency: pd.DataFrame
    seconds: pd.DataFrame

    @classmethod
    def of(cls, table: pd.DataFrame, *, seed: int) -> "Converged":
        searched = table[table["baseline"].isna()]
        longest = int(searched["updates"].max())
        rows = searched[(searched["updates"] == longest) & (searched["seed"] == seed)]
        seconds = pivot(rows, "seconds_training") + pivot(rows, "seconds_judging") + share(rows)
        return cls(updates=longest, quality=pivot(rows, QUALITY), latency=pivot(rows, "latency_ms"), seconds=seconds)

    @property
    def late(self) -> pd.DataFrame:
        return self.quality[LATE]


def signals(table: pd.DataFrame, *, seed: int) -> Iterator[Signal]:
    """All signals that the rows of one seed hold, and the converged value itself."""
    mine = table[table["seed"] == seed]
    dense = mine[mine["baseline"] == "dense"].set_index("sampler_steps")[QUALITY]
    rows = mine[mine["baseline"].isna()]
    longest = int(rows["updates"].max())
    yield from without_training(rows, dense)
    yield from last_points(rows, longest, dense)
    yield from other_outlooks(rows, dense)
    again = Converged.of(table, seed=seed)
    yield AGAIN, again.quality, again.seconds


def study(table: pd.DataFrame) -> pd.DataFrame:
    """One row per signal of fine-tunes from the warm start, best first."""
    table = table[table["start"] == "warm"]
    converged = {seed: Converged.of(table, seed=seed) for seed in SEEDS}
    told = {seed: {name: (values, cost) for name, values, cost in signals(table, seed=seed)} for seed in SEEDS}
    found = []
    for name in told[SEEDS[0]]:
        known = {seed: told[seed][name] for seed in SEEDS if name in told[seed]}
        if all(converged[seed].quality.index.isin(values.index).all() for seed, (values, _) in known.items()):
            found.append({"signal": name, **judged(known, converged)})
    return pd.DataFrame(found).sort_values("tau", ascending=False, ignore_index=True)


def judged(
    known: Mapping[int, tuple[pd.DataFrame, pd.DataFrame]], converged: Mapping[int, Converged]
) -> dict[str, Any]:
    """A signal's row, from its values and costs by seed."""
    ids = converged[SEEDS[0]].quality.index
    values = {seed: told.loc[ids] for seed, (told, _) in known.items()}
    other = {seed: converged[1 - seed] for seed in known}
    late = [(told[LATE], other[seed].late) for seed, told in values.items()]
    everywhere = [(told, other[seed].quality) for seed, told in values.items()]
    costs = {seed: cost.loc[ids, LATE] for seed, (_, cost) in known.items()}
    is_constant = all((told[LATE].min() == told[LATE].max()).all() for told in values.values())
    by_seed = {
        seed: {
            "tau": tau(told[LATE], other[seed].late),
            "tau_candidates": tau_candidates(told, other[seed].quality),
            "front_share": front_share(told, other[seed].quality, other[seed].latency),
            "regret": float("nan") if is_constant else regret(told[LATE], other[seed].late),
            "cost": float((costs[seed] / other[seed].seconds[LATE]).to_numpy().mean()),
            "tau_same_seed": tau(told[LATE], converged[seed].late),
            "tau_candidates_same_seed": tau_candidates(told, converged[seed].quality),
        }
        for seed, told in values.items()
    }
    low, high = interval(late, tau)
    candidates_low, candidates_high = interval(everywhere, tau_candidates)
    return {
        **pd.DataFrame(by_seed).T.mean(skipna=False).to_dict(),
        "tau_low": low,
        "tau_high": high,
        "tau_candidates_low": candidates_low,
        "tau_candidates_high": candidates_high,
        "core_seconds": float(np.mean([cost.to_numpy().mean() for cost in costs.values()])),
        "schedules": len(ids),
        "converged_updates": other[next(iter(known))].updates,
        **{f"{column}_seed_{seed}": by_seed[seed][column] for seed in known for column in BY_SEED},
    }


def draw(found: pd.DataFrame, path: Path) -> None:
    """Two panels: schedules at equal steps, and all candidates. A line per kind of signal, a point per number of own
    updates; `SHOWN` has the colours."""
    table = found.assign(kind=found["signal"].str.partition(": ")[2]).sort_values("cost")
    figure, (left, right) = plt.subplots(ncols=2, figsize=(12, 6.6), dpi=130, sharex=True)
    for axes, column in ((left, "tau"), (right, "tau_candidates")):
        _panel(axes, table.dropna(subset=[column]), column)
    again, steps = found[found["signal"] == AGAIN], table[table["kind"] == STEPS_ALONE]
    for axes, rows, column, name in (
        (left, again, "tau", "converged again, another seed"),
        (right, again, "tau_candidates", "converged again, another seed"),
        (right, steps, "tau_candidates", "steps alone"),
    ):
        value = float(rows[column].iloc[0])
        axes.axhline(value, color="#444444", linewidth=0.8)
        axes.annotate(name, (1.0, value + 0.005), fontsize=7, ha="right")
    left.set_xlim(-0.03, 1.03)
    left.set_ylabel("Kendall's tau with the distance converged under another seed")
    left.set_title("schedules at equal sampler steps", fontsize=10)
    right.set_title("all candidates: schedules and sampler steps", fontsize=10)
    lines = [Line2D([], [], color=colour, marker="o", markersize=4, label=label) for colour, label in SHOWN.values()]
    figure.legend(handles=lines, frameon=False, fontsize=8, loc="lower center", ncols=3)
    write(figure, path, foot=0.12)


def _panel(axes: plt.Axes, table: pd.DataFrame, column: str) -> None:
    below = []
    for kind, rows in table[table["kind"].isin(SHOWN)].groupby("kind", sort=False):
        axes.plot(rows["cost"], rows[column], marker="o", markersize=4, color=SHOWN[kind][0])
        low = rows[rows[column] < LOWEST]
        below += [f"{signal}: {value:.2f}" for signal, value in zip(low["signal"], low[column], strict=True)]
    axes.set_ylim(LOWEST, 1.0)
    if below:
        axes.annotate("\n".join(["below:", *below]), (0.99, 0.09), xycoords="axes fraction", ha="right", fontsize=7)
    axes.axhline(0.9, color="#888888", linewidth=0.8, linestyle=":")
    axes.axvline(0.2, color="#888888", linewidth=0.8, linestyle=":")
    axes.set_xlabel("core seconds per schedule, over those of the converged fine-tune")
    tidy(axes)


if __name__ == "__main__":
    arguments = reader(__doc__).parse_args()
    found = study(pd.read_parquet(arguments.table))
    found.to_csv(arguments.out / "ranking.csv", index=False, float_format="%.4g")
    draw(found, arguments.out / "ranking.png")
    print(found.to_string(index=False, float_format="%.3g"))

"""The answer as files: answer.json, front.csv, front.png, log_entry.md."""

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
from answer import Answer, Dominated, Gain
from evidence import Candidate

from flexsearch.files import replacing, write_atomically

_COLORS = {"dense": "#444444", "paper": "#d1495b", None: "#0b6e99"}
_LABELS = {"dense": "dense base at fewer steps", "paper": "FlexDiT paper's schedule", None: "searched"}
_CURVE_NAMES = {"dense": "the dense base at fewer steps", "paper": "the paper's layout"}


def write_results(
    answer: Answer, folder: Path, *, device_s: Mapping[str, float], counts: Mapping[str, int], device: str, small: bool
) -> None:
    """Writes the four files.

    Args:
        answer: what was found.
        folder: where to.
        device_s: seconds of the device by stage, losses included.
        counts: trials by state.
        device: its name.
        small: a smoke test, whose numbers mean nothing; every file says so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cost = {"seconds": dict(device_s), "total_s": sum(device_s.values()), "device": device, "trials": dict(counts)}
    content = {**answer.to_dict(), "cost": cost, "smoke_test": small}
    write_atomically(folder / "answer.json", json.dumps(content, indent=2) + "\n")
    with replacing(folder / "front.csv") as temporary:
        table(answer).to_csv(temporary, index=False, float_format="%.5g")
    with replacing(folder / "front.png") as temporary:
        _draw(answer, temporary, title=f"{device}{', SMOKE TEST: means nothing' if small else ''}")
    write_atomically(
        folder / "log_entry.md",
        log_entry(answer, device_s=device_s, counts=counts, device=device, small=small),
    )


def table(answer: Answer) -> pd.DataFrame:
    """A row per candidate, fastest first: means over seeds, standard deviations, gains with intervals."""
    rows = []
    for one in sorted(answer.evidence.candidates, key=lambda one: one.latency_ms.mean()):
        row: dict[str, object] = {
            "trial": one.trial,
            "baseline": one.name if one.baseline else "",
            "schedule": one.schedule,
            "sampler_steps": one.sampler_steps,
            answer.evidence.objective: one.quality.mean(),
            "quality_sd": _sd(one.quality),
            "latency_ms": one.latency_ms.mean(),
            "latency_sd": _sd(one.latency_ms),
        }
        for curve, gains in answer.gains.items():
            gain = gains.get(one.trial)
            row[f"gain_over_{curve}"] = None if gain is None else gain.value
            row[f"gain_over_{curve}_low"] = None if gain is None else gain.low
            row[f"gain_over_{curve}_high"] = None if gain is None else gain.high
        rows.append(row)
    return pd.DataFrame(rows)


def _sd(values: object) -> float:
    return float(pd.Series(values).std())  # NaN with one seed


def log_entry(
    answer: Answer, *, device_s: Mapping[str, float], counts: Mapping[str, int], device: str, small: bool
) -> str:
    """A lab book entry, ready to be pasted."""
    evidence = answer.evidence
    measured = (
        f"{evidence.images:,} images under each of {len(evidence.seeds)} fresh seeds"
        if evidence.is_confirmed
        else f"NOT CONFIRMED: {evidence.images:,} images under the search's own seed, no intervals"
    )
    lines = [
        f"## {date.today().isoformat()}: a search on {device}",
        "",
        *(["SMOKE TEST: the numbers mean nothing.", ""] if small else []),
        "Question: does the search find schedules that dominate the paper's hand-made layout, and dense at fewer",
        f"steps, at equal measured latency? `experiments/gpu_search/run.py`; {measured};",
        f"quality is `{evidence.objective}`.",
        "",
        *[f"- {_sentence(answer, curve)}" for curve in _CURVE_NAMES],
        *[f"- {_domination(one)}" for one in answer.dominated],
        "",
        f"| trial | schedule | steps | ms/image | {evidence.objective} | over dense | over paper |",
        "|---|---|---|---|---|---|---|",
        *[_row(answer, one) for one in sorted(evidence.candidates, key=lambda one: one.latency_ms.mean())],
        "",
        "Gains are paired differences at equal latency; brackets hold 95 % intervals for all candidates of a column",
        "together, of sampling noise only (each schedule was trained once).",
        "",
        f"Cost: {_cost(device_s)}; trials: {', '.join(f'{num} {state}' for state, num in counts.items() if num)}.",
    ]
    return "\n".join(lines) + "\n"


def _sentence(answer: Answer, curve: str) -> str:
    name, gains = _CURVE_NAMES[curve], answer.gains[curve]
    best = answer.best(curve)
    if best is None:
        return f"Against {name}: no searched schedule is in its range of latency."
    candidate, gain = best
    sure = (
        f"{answer.num_ahead(curve)} of {len(gains)} searched schedules are better for sure"
        if answer.evidence.is_confirmed
        else f"{sum(one is not None and one.value > 0 for one in gains.values())} of {len(gains)} look better"
    )
    return (
        f"Against {name} at equal latency: {sure}; the most ahead is trial {candidate.trial} "
        f"({candidate.schedule}, {candidate.sampler_steps} steps, {candidate.latency_ms.mean():.3g} ms) by "
        f"{shown(gain)}."
    )


def _domination(one: Dominated) -> str:
    baseline = one.baseline
    name, steps = baseline.name.split(",")[0], baseline.sampler_steps  # "dense, 8 steps"
    where = f"{name} ({steps} steps, {baseline.latency_ms.mean():.3g} ms)"
    if one.by is None:
        return f"{where}: no searched schedule is as fast."
    latency_ms = one.by.latency_ms.mean()
    return f"{where}: the best that is no slower is trial {one.by.trial} at {latency_ms:.3g} ms, {shown(one.gain)}."


def _row(answer: Answer, one: Candidate) -> str:
    dense, paper = (shown(answer.gains[curve].get(one.trial)) for curve in ("dense", "paper"))
    label = f"{one.name}: {one.schedule}" if one.baseline else one.schedule
    return (
        f"| {one.trial} | {label} | {one.sampler_steps} | {one.latency_ms.mean():.3g} "
        f"| {one.quality.mean():.4g} | {dense} | {paper} |"
    )


def shown(gain: Gain | None) -> str:
    """A gain with its interval."""
    if gain is None:
        return ""
    interval = "" if gain.low is None else f" [{gain.low:+.3g}, {gain.high:+.3g}]"
    return f"{gain.value:+.3g}{interval}"


def _cost(device_s: Mapping[str, float]) -> str:
    parts = ", ".join(f"{stage} {seconds / 60:.1f}" for stage, seconds in device_s.items())
    return f"{sum(device_s.values()) / 60:.1f} device minutes in all, start-up and interrupted work included ({parts})"


def _draw(answer: Answer, path: Path, *, title: str) -> None:
    figure, axes = plt.subplots(figsize=(8, 5), dpi=150)
    evidence = answer.evidence
    for kind, color in _COLORS.items():
        points = sorted((one for one in evidence.candidates if one.baseline == kind), key=lambda p: p.latency_ms.mean())
        if not points:
            continue
        axes.errorbar(
            [one.latency_ms.mean() for one in points],
            [one.quality.mean() for one in points],
            xerr=None if len(evidence.seeds) < 2 else [_sd(one.latency_ms) for one in points],
            yerr=None if len(evidence.seeds) < 2 else [_sd(one.quality) for one in points],
            fmt="o-" if kind is None else "s--",
            color=color,
            capsize=2,
            linewidth=1.2,
            markersize=5,
            label=_LABELS[kind],
        )
        for one in points:
            text = str(one.trial) if kind is None else f"{one.sampler_steps} steps"
            place = (one.latency_ms.mean(), one.quality.mean())
            axes.annotate(text, place, xytext=(5, 5), textcoords="offset points", fontsize=8, color=color)
    axes.set_xlabel("ms/image, measured")
    bars = f"; bars: sd over {len(evidence.seeds)} seeds" if len(evidence.seeds) > 1 else "; NOT CONFIRMED"
    axes.set_ylabel(f"{evidence.objective} of {evidence.images:,} images (lower is better)")
    axes.set_title(f"{title}{bars}", loc="left", fontsize=9)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, format="png")
    plt.close(figure)

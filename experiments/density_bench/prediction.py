"""What tells early which candidate will be good: a short trial's own quality, or its predicted distance?

    uv run python experiments/density_bench/prediction.py

Of the table's schedules, sampled in the ways in which long fine-tunes were (`make.py --long`: ten times a trial's
updates, 2,000 images): a short trial under one seed, against the quality after long training under the other, which
shares neither batches nor noise. Kendall's tau over all candidates, over schedules at equal sampling (the mean over
samplings), and the hypervolume of the front that a signal names, over that of the best front. None of these schedules
was used to choose the formula of the predicted distance. Writes `prediction.csv`.
"""

import json

import numpy as np
import pandas as pd
from scipy.stats import kendalltau
from shipped import reader

from flexsearch.measurement import Measurement
from flexsearch.objectives.settings import PAIRED_DISTANCE
from flexsearch.schedule.candidate import Candidate
from flexsearch.study.pareto import hypervolume, is_non_dominated, reference_point
from flexsearch.study.predicted_distance import predicted_distances
from flexsearch.study.store import TrialRecord

QUALITY, LATENCY = "fid_fashion_cnn", "latency_ms"


def record(number: int, row: pd.Series) -> TrialRecord:
    candidate = Candidate.from_dict(json.loads(row["candidate"]))
    found = {QUALITY: row[QUALITY], LATENCY: row[LATENCY], PAIRED_DISTANCE: row["paired_distance"]}
    return TrialRecord(
        number=number,
        candidate=candidate,
        baseline="dense" if candidate.schedule.is_dense else None,
        state="complete",
        reason=None,
        attempts=1,
        started="",
        ended="",
        measurements={name: Measurement(name=name, value=float(value), unit="1") for name, value in found.items()},
        rungs=(),
    )


def signals(short: pd.DataFrame) -> pd.DataFrame:
    """Quality and predicted distance of short trials, by digest; the dense base is in, for its curves."""
    records = [record(number, row) for number, (_, row) in enumerate(short.iterrows())]
    predicted = predicted_distances(records, quality=QUALITY)
    return pd.DataFrame(
        {
            "quality": {one.candidate.digest: one.measurements[QUALITY].value for one in records},
            "predicted distance": {one.candidate.digest: predicted[one.number] for one in records},
        }
    )


def judged(signal: pd.Series, long: pd.DataFrame) -> dict[str, float]:
    """How well a signal ranks what long training made."""
    quality, latency = long[QUALITY], long[LATENCY]
    within = [
        kendalltau(signal[rows.index], rows[QUALITY]).statistic for _, rows in long.groupby("sampling") if len(rows) > 4
    ]
    points = np.stack([quality, latency], axis=1)
    named = points[is_non_dominated(np.stack([signal[long.index], latency], axis=1))]
    reference = reference_point(points)
    return {
        "tau": float(kendalltau(signal[long.index], quality).statistic),
        "tau_at_equal_sampling": float(np.mean(within)),
        "front": hypervolume(named, reference=reference) / hypervolume(points, reference=reference),
    }


if __name__ == "__main__":
    arguments = reader(__doc__).parse_args()
    table = pd.read_parquet(arguments.table)
    most = table["images"].max()
    if table["images"].nunique() < 2:
        raise SystemExit("the table holds no long fine-tunes: make.py --long, then --collect")
    rows = []
    for seed in (0, 1):
        long = table[(table["images"] == most) & (table["seed"] == 1 - seed) & (table["updates"] > 0)]
        if long.empty:
            print(f"no long fine-tunes under seed {1 - seed} yet: `make.py --long --seed {1 - seed}` makes them")
            continue
        found = signals(table[(table["images"] < most) & (table["seed"] == seed)])
        for name in found:
            rows.append(
                {"signal": name, "seed": seed, "candidates": len(long), **judged(found[name], long.set_index("digest"))}
            )
    result = pd.DataFrame(rows)
    result.to_csv(arguments.out / "prediction.csv", index=False, float_format="%.4g")
    print(result.to_string(index=False, float_format="%.3f"))

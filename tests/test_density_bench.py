"""The tabular benchmark that ships: whole, and good for judging a policy in seconds."""

import json
import subprocess
import sys
from pathlib import Path

import moocore
import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from flexsearch.config import load_config
from flexsearch.measurement import Measurement
from flexsearch.schedule.candidate import Candidate
from flexsearch.study.acquisition import Acquisition
from flexsearch.study.pareto import hypervolume, reference_point
from flexsearch.study.store import TrialRecord

FOLDER = Path(__file__).parents[1] / "experiments" / "density_bench"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_parquet(FOLDER / "table.parquet")


def test_every_candidate_of_the_space_was_evaluated(table: pd.DataFrame) -> None:
    space = load_config(FOLDER / "space.yaml").search_space
    wanted = {space.build(choice).digest for choice in space.choices()}
    assert len(wanted) == 210
    rows = table[(table["start"] == "warm") & (table["seed"] == 0) & table["baseline"].isna()]
    for updates in (0, 40, 160):
        assert wanted == set(rows.loc[rows["updates"] == updates, "digest"])
    assert not table.duplicated(["digest", "start", "seed", "updates"]).any()
    assert table["latency_ms"].gt(0).all()
    assert table["fid_fashion_cnn"].between(1, 200).all()
    protocol = table.attrs["protocol"]
    assert {"space", "trial", "extractor", "torch", "latency", "core_hours"} <= set(protocol)
    assert protocol["core_hours"] > 0.5


def test_rows_describe_their_candidates(table: pd.DataFrame) -> None:
    for row in table.sample(20, random_state=0).itertuples():
        candidate = Candidate.from_dict(json.loads(row.candidate))
        assert (candidate.digest, candidate.schedule.digest) == (row.digest, row.schedule_digest)
        assert (candidate.sampling.steps, str(candidate.schedule)) == (row.sampler_steps, row.schedule)


def test_a_policy_is_judged_on_it(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(FOLDER / "compare.py"),
        "--seeds",
        "2",
        "--jobs",
        "1",
        "--policies",
        "random",
        "--trials",
        "40",
    ]
    subprocess.run([*command, "--out", str(tmp_path)], check=True, capture_output=True, timeout=200)
    found = pd.read_csv(tmp_path / "compare.csv").set_index("policy")
    assert list(found.index) == ["random", "random + early stopping"]
    for name in ("share_at_10", "share_at_20", "share_at_40"):
        assert found[name].between(0, 1).all()
    curves = pd.read_csv(tmp_path / "compare_curves.csv")
    for _, curve in curves.groupby(["policy", "seed"]):
        assert curve["share"].is_monotonic_increasing
        assert curve["evaluations"].is_monotonic_increasing


def test_a_screen_that_saw_twelve_schedules_chooses_well_among_all_others(table: pd.DataFrame) -> None:
    """Its choice adds more to the front than nine of ten candidates would, by the values that were really measured."""
    objectives = ("fid_fashion_cnn", "latency_ms")
    rows = table[(table["start"] == "warm") & (table["seed"] == 0)].drop_duplicates(["digest", "updates"])
    final = rows[(rows["updates"] == 160) | (rows["baseline"] == "dense")].reset_index(drop=True)
    macs = final.set_index("digest")["macs"].to_dict()
    records = [
        TrialRecord(
            number=row.Index,
            state="complete",
            reason=None,
            attempts=1,
            started="",
            ended="",
            candidate=Candidate.from_dict(json.loads(row.candidate)),
            baseline=None if pd.isna(row.baseline) else row.baseline,
            measurements={
                name: Measurement(name=name, value=getattr(row, name), unit="1", protocol={}) for name in objectives
            },
        )
        for row in final.itertuples()
    ]
    acquisition = Acquisition(
        num=256,
        work=lambda one: macs[one.digest] * one.sampling.steps,
        predict_ms=lambda _: None,
        objectives=objectives,
    )
    baselines = [record for record in records if record.baseline is not None]
    points = final[list(objectives)].to_numpy()
    reference = reference_point(points[[record.number for record in baselines]])
    ranks = []
    for seed in range(4):
        order = np.random.default_rng(seed).permutation([r.number for r in records if r.baseline is None])
        known, unseen = [*baselines, *(records[number] for number in order[:12])], order[12:]
        front = points[[record.number for record in known]]
        gains = [hypervolume(np.vstack([front, points[number]]), reference=reference) for number in unseen]
        chosen = acquisition.best([records[number].candidate for number in unseen], known)
        ranks.append(np.mean(np.array(gains) <= gains[chosen]))
    assert np.median(ranks) >= 0.9


@pytest.mark.parametrize("seed", [0, 1])
def test_outlooks_name_a_better_converged_front_than_distances(table: pd.DataFrame, seed: int) -> None:
    """By the numbers that a trial of 40 updates measures, of schedules that converged under the other seed."""
    warm = table[table["start"] == "warm"]
    rows = warm[warm["seed"] == seed]
    dense = rows[rows["baseline"] == "dense"].set_index("sampler_steps")["fid_fashion_cnn"]
    final = warm[(warm["seed"] == 1 - seed) & (warm["updates"] == 2560)].set_index("digest")["fid_fashion_cnn"]
    short = rows[rows["baseline"].isna() & (rows["updates"] == 40)].set_index("digest").loc[final.index]
    signals = {
        "distance": short["fid_fashion_cnn"],
        "outlook": short["sampler_steps"].map(dense) * (1.0 + short["drift"]),
    }
    assert len(final) == 105
    assert short["drift"].between(0.1, 0.6).all()
    taus = {name: kendalltau(signal, final).statistic for name, signal in signals.items()}
    assert taus["outlook"] > max(0.9, taus["distance"] + 0.05)
    points = np.stack([np.log(final), short["latency_ms"]], axis=1)
    shares = {}
    for name, signal in signals.items():
        named = points[moocore.is_nondominated(np.stack([signal, short["latency_ms"]], axis=1))]
        shares[name] = hypervolume(named, reference=points.max(axis=0))
    assert shares["outlook"] > shares["distance"]

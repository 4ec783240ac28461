"""The tabular benchmark that ships: whole, and good for judging a policy in seconds."""

import concurrent.futures
import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders import run_script

from flexsearch.config import load_config
from flexsearch.measurement import Measurement
from flexsearch.schedule.candidate import Candidate
from flexsearch.study.acquisition import Acquisition
from flexsearch.study.pareto import hypervolume, non_dominated, reference_point
from flexsearch.study.store import TrialRecord

FOLDER = Path(__file__).parents[1] / "experiments" / "density_bench"
OBJECTIVES = ("fid_fashion_cnn", "latency_ms")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_parquet(FOLDER / "table.parquet")


@pytest.fixture(scope="module")
def short(table: pd.DataFrame) -> pd.DataFrame:
    """Trials of the quickstart's length."""
    return table[table["images"] == 300]


def test_every_candidate_of_the_space_was_evaluated(short: pd.DataFrame) -> None:
    space = load_config(FOLDER / "space.yaml").search_space
    wanted = {space.build(choice).digest for choice in space.choices()}
    assert len(wanted) == 884
    for seed in (0, 1):
        rows = short[short["seed"] == seed]
        assert wanted <= set(rows["digest"])
        assert not rows["digest"].duplicated().any()
    assert short["latency_ms"].gt(0).all()
    assert short["fid_fashion_cnn"].between(1, 200).all()


def test_the_seeds_are_schedules_of_the_table(short: pd.DataFrame) -> None:
    space = load_config(FOLDER / "space.yaml").search_space
    seeds = json.loads((FOLDER / "gradient_seeds.json").read_text())["seeds"]
    others = next(space.choices())
    built = [space.build({**others, **one["parameters"]}).schedule for one in seeds]
    assert [str(one) for one in built] == [one["schedule"] for one in seeds]
    assert {str(one) for one in built} <= set(short["schedule"])


def test_rows_describe_their_candidates(table: pd.DataFrame) -> None:
    for row in table.sample(20, random_state=0).itertuples():
        candidate = Candidate.from_dict(json.loads(row.candidate))
        assert candidate.digest == row.digest
        assert (str(candidate.schedule), str(candidate.sampling)) == (row.schedule, row.sampling)


def test_a_policy_is_judged_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", concurrent.futures.ThreadPoolExecutor)
    monkeypatch.setattr(logging.root.manager, "disable", 0)  # the script sets it; what was set comes back
    arguments = ("--seeds", 2, "--jobs", 1, "--policies", "random", "--out", tmp_path)
    run_script(monkeypatch, FOLDER / "compare.py", *arguments)
    found = pd.read_csv(tmp_path / "compare.csv")
    assert list(found["policy"]) == ["random"]
    curves = pd.read_csv(tmp_path / "compare_curves.csv")
    for _, curve in curves.groupby(["policy", "seed"]):
        assert curve["seconds"].is_monotonic_increasing
        assert curve["share"].iloc[-1] > 0
    ablation = pd.read_csv(tmp_path / "ablation.csv").set_index("policy")
    assert ablation.loc["all axes", "candidates"] == 884
    assert ablation.drop("all axes")["candidates"].lt(884).all()


def test_an_acquisition_that_saw_forty_trials_chooses_well_among_others(short: pd.DataFrame) -> None:
    """Its choice adds more to the front than four of five candidates would, by the values that were really measured."""
    rows = short[short["seed"] == 0].reset_index(drop=True)
    candidates = [Candidate.from_dict(json.loads(text)) for text in rows["candidate"]]
    is_dense = [one.schedule.is_dense and str(one.sampling).split()[1:] in ([], ["ab2"]) for one in candidates]
    records = [
        TrialRecord(
            number=number,
            state="complete",
            reason=None,
            attempts=1,
            started="",
            ended="",
            candidate=candidate,
            baseline="dense" if dense else None,
            measurements={
                name: Measurement(name=name, value=value, unit="1")
                for name, value in zip(OBJECTIVES, values, strict=True)
            },
        )
        for number, (candidate, dense, values) in enumerate(
            zip(candidates, is_dense, rows[list(OBJECTIVES)].to_numpy(), strict=True)
        )
    ]
    macs = rows.set_index("digest")["macs"].to_dict()
    acquisition = Acquisition(
        num=256, work=lambda one: macs[one.digest], predict_ms=lambda _: None, objectives=OBJECTIVES
    )
    baselines = [record for record in records if record.baseline is not None]
    points = rows[list(OBJECTIVES)].to_numpy()
    reference = reference_point(np.array(non_dominated([points[one.number] for one in baselines], key=list)))
    ranks = []
    for seed in range(4):
        order = np.random.default_rng(seed).permutation([r.number for r in records if r.baseline is None])
        known, unseen = [*baselines, *(records[number] for number in order[:40])], order[40:240]
        front = points[[record.number for record in known]]
        gains = [hypervolume(np.vstack([front, points[number]]), reference=reference) for number in unseen]
        chosen = acquisition.best([records[number].candidate for number in unseen], known)
        ranks.append(np.mean(np.array(gains) <= gains[chosen]))
    assert np.median(ranks) >= 0.8

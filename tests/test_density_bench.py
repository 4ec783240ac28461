"""The tabular benchmark that ships: whole, and good for judging a policy in seconds."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from flexsearch.config import load_config
from flexsearch.schedule.density import Candidate

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
        assert (candidate.sampler_steps, str(candidate.schedule)) == (row.sampler_steps, row.schedule)


def test_a_policy_is_judged_on_it(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "compare.py"), "--seeds", "2", "--jobs", "1", "--policies", "random"]
    subprocess.run([*command, "--out", str(tmp_path)], check=True, capture_output=True, timeout=200)
    found = pd.read_csv(tmp_path / "compare.csv").set_index("policy")
    assert list(found.index) == ["random", "random + early stopping"]
    for name in ("share_at_10", "share_at_20", "share_at_40"):
        assert found[name].between(0, 1).all()
    curves = pd.read_csv(tmp_path / "compare_curves.csv")
    for _, curve in curves.groupby(["policy", "seed"]):
        assert curve["share"].is_monotonic_increasing
        assert curve["evaluations"].is_monotonic_increasing
    assert (tmp_path / "compare.png").stat().st_size > 1000

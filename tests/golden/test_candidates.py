"""Candidates of every shipped space, presets and the paper's schedules: identity, text, MACs, parameters, stages."""

from typing import Any

import api
import pytest

ROWS: list[dict[str, Any]] = api.read_json("candidates.json")
TIMES: dict[int, list[float]] = dict(api.read_json("times.json"))
SOURCES = sorted({(row["source"], row["of"]) for row in ROWS})


def rows_of(source: str, of: str) -> list[dict[str, Any]]:
    return [row for row in ROWS if (row["source"], row["of"]) == (source, of)]


def shape_of(source: str, of: str) -> Any:
    return api.shape_of_preset(of) if source == "preset" else api.shape_of_space(of)


def test_there_are_as_many_as_were_stored() -> None:
    assert sum(row["source"] == "drawn" for row in ROWS) == 200
    assert len({row["digest"] for row in ROWS if row["source"] == "drawn"}) > 190


@pytest.mark.parametrize(("source", "of"), SOURCES)
def test_digests_text_and_round_trip(source: str, of: str) -> None:
    for row in rows_of(source, of):
        candidate = api.candidate_of(row["candidate"])
        assert api.digest(candidate) == row["digest"]
        assert api.schedule_digest(candidate) == row["schedule_digest"]
        assert str(candidate) == row["text"]
        assert api.candidate_of(api.candidate_dict(candidate)) == candidate
        assert api.digest(api.candidate_of(api.candidate_dict(candidate))) == row["digest"]


@pytest.mark.parametrize(("source", "of"), SOURCES)
def test_macs_parameters_and_stages(source: str, of: str) -> None:
    """MACs and parameters are whole numbers and equal; their means are sums of at most 100 products."""
    shape = shape_of(source, of)
    for row in rows_of(source, of):
        candidate = api.candidate_of(row["candidate"])
        times = TIMES[row["candidate"]["sampler_steps"]]
        assert api.stage_macs(candidate, shape) == row["stage_macs"]
        assert api.params(candidate, shape) == row["params"]
        assert "".join(map(str, api.stages_at(candidate, shape, times))) == row["stages"]
        assert api.mean_macs(candidate, shape) == pytest.approx(row["mean_macs"], rel=100 * 2**-52)
        assert api.mean_macs(candidate, shape, times) == pytest.approx(row["sampled_macs"], rel=100 * 2**-52)


def test_presets_and_the_papers_schedule_are_the_stored_ones() -> None:
    for row in ROWS:
        if row["source"] == "preset":
            assert api.digest(api.preset(row["of"], sampler_steps=50)) == row["digest"]
        elif row["source"] == "paper":
            assert api.digest(api.paper(api.shape_of_space(row["of"]), sampler_steps=50)) == row["digest"]


def test_a_latency_profile_of_the_old_format_predicts_the_same() -> None:
    profile = api.profile_of(api.read_json("profile.json"))
    for values, ms in api.read_json("predictions.json"):
        assert api.predict_ms(profile, api.candidate_of(values)) == pytest.approx(ms, rel=100 * 2**-52)

"""The shipped spaces: parameters, what they build and draw, baselines, and the key of the shipped warm start."""

from typing import Any

import api
import pytest

STORED: dict[str, Any] = api.read_json("space.json")


@pytest.mark.parametrize("name", STORED["spaces"])
def test_a_space_is_what_it_was(name: str) -> None:
    found, stored = api.space_facts(name), STORED["spaces"][name]
    assert list(found["parameters"]) == list(stored["parameters"])  # draws depend on the order
    assert found == stored


def test_the_shipped_warm_start_is_found() -> None:
    stored = STORED["warm_starts"]["quickstart"]
    assert stored == "f003ceab049a"
    assert api.warm_start_key(api.SPACES / "quickstart.yaml") == stored

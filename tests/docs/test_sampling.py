"""The page on sampling and the table of its fields say what the code declares, and their examples are accepted."""

import ast
import re
from dataclasses import MISSING
from typing import Any

import yaml
from fences import ROOT, fences

from flexsearch.config import load_config, parse_config
from flexsearch.schedule import Sampling
from flexsearch.schedule.fields import declared, is_part
from flexsearch.space import parse_space

TABLE = ROOT / "docs" / "reference" / "config.md"
PAGE = ROOT / "docs" / "sampling.md"
_ROW = re.compile(r"^\| `(?P<key>[\w.]+)` \| .+? \| `(?P<default>[^`]+)` \|", re.MULTILINE)


def fields_of(kind: Any, prefix: str = "") -> dict[str, Any]:
    """Defaults by key."""
    found: dict[str, Any] = {}
    for one in declared(kind):
        if is_part(one.annotation):
            found |= fields_of(one.annotation, f"{one.key}.")
        else:
            found[prefix + one.key] = one.default
    return found


def test_the_table_has_every_field_of_sampling_with_its_default() -> None:
    section = TABLE.read_text().partition("## Sampling in a search space")[2].partition("Elsewhere in the file")[0]
    said = {row["key"]: yaml.safe_load(row["default"]) for row in _ROW.finditer(section)}
    quickstart = load_config(ROOT / "search_spaces" / "quickstart.yaml").search_space
    without = parse_space({"segments": [{"family": "dense", "depth": "rest"}]}, target=quickstart.target)
    steps = {"sampler_steps": without.steps[0]}
    assert said == {key: value for key, value in fields_of(Sampling).items() if value is not MISSING} | steps


def test_the_examples_are_accepted() -> None:
    grids, whole, part = (yaml.safe_load(fence.text) for fence in fences(TABLE) if fence.language == "yaml")
    assert parse_config(whole).is_free
    quickstart = load_config(ROOT / "search_spaces" / "quickstart.yaml")
    assert parse_space(grids["space"], target=quickstart.search_space.target).size == 6
    space = parse_space(part["space"], target=quickstart.search_space.target)
    assert {"cache.pattern", "gain.skip"} < space.domains.keys()
    (own,) = (yaml.safe_load(fence.text) for fence in fences(PAGE) if fence.language == "yaml")
    assert parse_config(own).is_free


def test_the_page_imports_what_exists() -> None:
    (example,) = (fence.text for fence in fences(PAGE) if fence.language == "python")
    imports = [node for node in ast.parse(example).body if isinstance(node, ast.ImportFrom)]
    exec(compile(ast.Module(body=list(imports), type_ignores=[]), str(PAGE), "exec"), names := {})
    assert {"reuse_costs", "planned_masks", "dense_plan"} < names.keys()

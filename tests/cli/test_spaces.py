"""Shipped search spaces: by name in every command, listed, printed and copied."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from builders import Call

from flexsearch.config import load_config
from flexsearch.errors import Note, UserError
from flexsearch.paths import shipped_spaces, space_file
from flexsearch.schedule.families import FAMILIES


def test_a_name_is_a_shipped_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config(Path("quickstart")).name == "quickstart"
    Path("quickstart.yaml").write_text("name: mine")
    with pytest.warns(Note, match=r"yours is quickstart\.yaml"):
        assert space_file(Path("quickstart")) == shipped_spaces()["quickstart"]
    assert space_file(Path("quickstart.yaml")) == Path("quickstart.yaml")
    Path("quickstart").write_text("name: mine")
    assert space_file(Path("quickstart")) == Path("quickstart")


def test_a_path_that_is_not_there_names_the_shipped_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"search_spaces/dit_xl\.yaml: .*; nearest legal: dit_xl$"):
        space_file(Path("search_spaces/dit_xl.yaml"))
    with pytest.raises(UserError, match=r"nearest legal: quickstart$"):
        space_file(Path("quikstart"))


def test_spaces_are_listed_printed_and_copied(
    flexsearch: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    lines = flexsearch("spaces").out.splitlines()
    assert [line.split()[0] for line in lines] == list(shipped_spaces())
    assert all(len(line.split()) > 4 for line in lines)
    text = shipped_spaces()["dit_xl"].read_text()
    assert flexsearch("spaces", "dit_xl").out == text
    copy = tmp_path / "new" / "mine.yaml"
    assert flexsearch("spaces", "dit_xl", "--copy", copy).code == 0
    assert copy.read_text() == text
    assert "# yaml-language-server: $schema=space.json\n" in text
    assert json.loads(copy.with_name("space.json").read_text()) == json.loads(flexsearch("schema").out), (
        "uv run python docs/make_commands.py"
    )
    again = flexsearch("spaces", "dit_xl", "--copy", copy)
    assert (again.code, "exists already" in again.err) == (2, True)
    for typed, nearest in (("dit_xxl", "dit_xl"), ("zzz", "one of `flexsearch spaces`")):
        unknown = flexsearch("spaces", typed)
        assert (unknown.code, unknown.err.rstrip().endswith(f"nearest legal: {nearest}")) == (2, True)
    assert flexsearch("spaces", "--copy", tmp_path / "x.yaml").code == 2


def test_the_schema_takes_every_shipped_space_and_no_typo(flexsearch: Call) -> None:
    schema = json.loads(flexsearch("schema").out)
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    for file in shipped_spaces().values():
        values = yaml.safe_load(file.read_text())
        assert list(validator.iter_errors(values)) == [], file.name
    values["space"] |= {"sampler_stps": 4}
    values["search"] = {"trials": "many"}
    values["space"]["segments"] = [{"family": "dense", "depth": {"range": [1, 2]}}]
    found = {error.json_path for error in validator.iter_errors(values)}
    assert found == {"$.space", "$.search.trials", "$.space.segments[0]"}


def test_a_schema_knows_every_family(flexsearch: Call) -> None:
    items = json.loads(flexsearch("schema").out)["properties"]["space"]["properties"]["segments"]["items"]["anyOf"]
    assert [one["properties"]["family"]["const"] for one in items] == sorted(FAMILIES)

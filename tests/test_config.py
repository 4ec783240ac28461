"""A configuration: its name is one folder, and what is kept of it has no secret."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import Call

from flexsearch.config import open_config, parse_config, resumed
from flexsearch.errors import UserError
from flexsearch.report.evidence import config as shown_config
from flexsearch.study.secrets import VARIABLE

SECRET = "postgresql+psycopg://u:SECRET@host/db"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/tmp/x", "../../x", "a\0b", "a\nb", "x" * 201, "\u00e4" * 199])
def test_a_name_is_one_folder(tiny_config: Call, name: str) -> None:
    with pytest.raises(UserError, match=r"^name: must") as raised:
        parse_config(tiny_config(name=name))
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("name", ["tiny", "a b", "dit-XL_2.v1", "...", "\u00e4" * 100])
def test_other_names_are_kept(tiny_config: Call, name: str) -> None:
    assert parse_config(tiny_config(name=name)).name == name


def test_guidance_that_the_base_cannot_have_is_refused(tiny_config: Call) -> None:
    for sampling, said in (
        ({"guidance_renorm": True}, "guidance_renorm: is for bases that read text"),
        ({"guidance_channels": 5}, "guidance_channels: must be at most"),
    ):
        with pytest.raises(UserError, match=rf"^sampling\.{said}"):
            parse_config(tiny_config(sampling=sampling))


def test_a_password_is_kept_nowhere(tiny_config: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config: Any = parse_config(tiny_config(storage=SECRET))
    assert config.storage == SECRET
    config.save(tmp_path)
    assert "SECRET" not in str(config.to_dict())
    assert "SECRET" not in "".join(path.read_text() for path in tmp_path.iterdir())
    monkeypatch.setenv(VARIABLE, SECRET)
    again = resumed(parse_config(tiny_config()), tmp_path, storage=None)
    assert again.storage == SECRET, "the run stays in its database, and the variable has the password"
    assert open_config(tmp_path).storage == "postgresql+psycopg://u:***@host/db"


def test_a_new_run_takes_the_variable_and_an_old_one_on_a_file_does_not(
    tiny_config: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)
    config = parse_config(tiny_config())
    assert resumed(config, tmp_path, storage=None).storage == SECRET
    config.save(tmp_path)
    assert resumed(config, tmp_path, storage=None).storage is None


def test_the_page_has_no_storage_of_an_earlier_version(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"name": "tiny", "storage": SECRET, "search": {"trials": 3}}, sort_keys=False))
    assert shown_config(path) == "name: tiny\nsearch:\n  trials: 3\n"

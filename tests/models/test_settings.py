"""The base's settings: what is known of a base without its weights."""

import json
from pathlib import Path

import pytest
from huggingface_hub import try_to_load_from_cache

from flexsearch.models.settings import BaseSettings, base_clock

NAME = "facebook/DiT-XL-2-256"
FILE = "scheduler/scheduler_config.json"


@pytest.mark.parametrize("revision", [None, "v2", "0a1b2c"])
def test_the_clock_of_a_downloaded_base_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str | None
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    settings = BaseSettings(checkpoint=NAME, revision=revision)
    assert base_clock(settings).timestep_spacing == "leading"  # as its publishers sample
    folder = tmp_path / "models--facebook--DiT-XL-2-256"
    path = folder / "snapshots" / "0a1b2c" / FILE
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"_class_name": "DDIMScheduler", "timestep_spacing": "trailing"}))
    (folder / "refs").mkdir()
    for name in ("main", "v2"):
        (folder / "refs" / name).write_text("0a1b2c")
    assert try_to_load_from_cache(NAME, FILE, cache_dir=tmp_path, revision=revision) == str(path)
    assert base_clock(settings).timestep_spacing == "trailing"

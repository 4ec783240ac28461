"""What images show is named in the order of their conditions, where that can be told without reading data."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from flexsearch.config import parse_config
from flexsearch.data.settings import DataSettings
from flexsearch.report.image_names import FASHION_MNIST, names_of


def test_classes_and_captions_are_named(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    settings = parse_config(tiny_config()).trial_settings

    def names(**data: Any) -> tuple[str, ...]:
        return names_of(replace(settings, data=DataSettings(**data)))

    assert names(name="quickstart") == FASHION_MNIST
    for folder in ("10", "9", ".hidden"):
        (tmp_path / folder).mkdir()
    (tmp_path / "captions.jsonl").touch()
    assert names(name="images", root=str(tmp_path)) == ("9", "10"), "by their numbers"
    (tmp_path / "cat").mkdir()
    assert names(name="images", root=str(tmp_path)) == ("10", "9", "cat")
    assert names(name="images", root=str(tmp_path / "nowhere")) == ()
    assert names(name="latents", root=str(tmp_path)) == ()

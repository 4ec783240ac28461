"""The tutorial on backbones, done as it says, its backbone held to the properties of every backbone."""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fences import ROOT, import_titled, run_page
from installed import install

from flexsearch.errors import UserError
from flexsearch.models.architectures import ARCHITECTURES, architecture
from flexsearch.models.loading import load_base
from flexsearch.models.settings import BaseSettings
from flexsearch.schedule.cache import Cache

PAGE = ROOT / "docs" / "tutorials" / "backbone.md"
MODULES = ("label_transformer", "flexsearch_label", "label_backbone", "test_label")
*_, SUITE = import_titled(PAGE)
_OF_THE_PAGE = architecture._ARCHITECTURES.pop("label")


@pytest.mark.usefixtures("known")
class TestLabel(SUITE.TestLabel):  # type: ignore[name-defined,misc]
    @pytest.fixture
    def known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Other tests do not see the page's backbone."""
        monkeypatch.setitem(architecture._ARCHITECTURES, "label", _OF_THE_PAGE)

    @pytest.mark.slow
    @pytest.mark.parametrize("cache", [Cache(pattern="FFpFnp", first=1)], ids=["span"])
    def test_a_step_and_its_reuse_compile_without_a_graph_break(self, model: Any, cache: Cache) -> None:
        super().test_a_step_and_its_reuse_compile_without_a_graph_break(model, cache)


@pytest.mark.usefixtures("registries")
def test_the_tutorial(workplace: Path, flexsearch: Callable[[Sequence[str]], None]) -> None:
    """The commands find the backbone through its entry point alone."""

    def command(arguments: Sequence[str]) -> None:
        install(workplace)
        sys.modules.pop("flexsearch_label", None)
        architecture._ARCHITECTURES.pop("label", None)
        flexsearch(arguments)

    for name in MODULES:
        sys.modules.pop(name, None)
    names = run_page(PAGE, workplace, flexsearch=command)
    loaded = load_base(BaseSettings(checkpoint="label_base", backbone="label")).model
    assert loaded.shape == names["model"].shape


def test_an_unknown_backbone_is_named() -> None:
    known = re.escape(str(sorted(ARCHITECTURES)))
    with pytest.raises(UserError, match=rf"base.backbone: must be one of {known}, but got 'unet'"):
        BaseSettings(checkpoint="somewhere", backbone="unet")

"""The command line in this process, and registries that forget what a tutorial registers."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from flexsearch.cli.app import main
from flexsearch.models.architectures import architecture
from flexsearch.models.roles import role_module
from flexsearch.schedule import role
from flexsearch.schedule.families import segment

_REGISTRIES = (segment._FAMILIES, role._ROLES, role_module._MODULES, architecture._ARCHITECTURES)


@pytest.fixture
def registries(tmp_path: Path) -> Iterator[None]:
    """What is registered during a test is forgotten after it, and so are the modules that it wrote."""
    before = [dict(registry) for registry in _REGISTRIES]
    yield
    for registry, entries in zip(_REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(entries)  # type: ignore[arg-type]
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that Python imports from, with a cache of its own; commands run in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def flexsearch(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], None]:
    """Runs a command in this process; it must end well."""

    def call(arguments: Sequence[str]) -> None:
        monkeypatch.setattr(sys, "argv", ["flexsearch", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code, f"flexsearch {' '.join(arguments)} ended with {ended.value.code}"

    return call

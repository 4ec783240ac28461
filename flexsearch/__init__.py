"""flexsearch: the token-density schedule of a diffusion transformer, found on measured time."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `import flexsearch` waits for none of it
    from flexsearch.api import SearchRun, open_run, search
    from flexsearch.export.applied import apply, remove

__version__ = "0.1.0"
__all__ = ["SearchRun", "__version__", "apply", "open_run", "remove", "search"]

_APPLIED = ("apply", "remove")


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("flexsearch.export.applied" if name in _APPLIED else "flexsearch.api"), name)


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))

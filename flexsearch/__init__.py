"""flexsearch: the token-density schedule of a diffusion transformer, found on measured time."""

TYPE_CHECKING = False  # as for type checkers: an interrupt while Python imports `typing` could not be answered yet
if TYPE_CHECKING:  # `import flexsearch` waits for none of it
    from typing import Any

    from flexsearch.api import SearchRun, open_run, search
    from flexsearch.export.applied import apply, remove

__version__ = "0.1.0"
__all__ = ["SearchRun", "__version__", "apply", "open_run", "remove", "search"]

_APPLIED = ("apply", "remove")


def __getattr__(name: str) -> "Any":
    """Import what is asked for, when it is asked for."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("flexsearch.export.applied" if name in _APPLIED else "flexsearch.api"), name)


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))

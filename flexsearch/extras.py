"""Libraries that only one command needs. Each has an extra that installs it: `pip install "flexsearch[ray]"`."""

import importlib.util

from flexsearch.errors import UserError

_EXTRAS = {"optuna_dashboard": "dashboard", "onnxscript": "onnx", "onnxruntime": "onnx"}
"""Extras that are not called as their library."""


def is_installed(library: str) -> bool:
    """Tell whether a library can be imported, without importing it."""
    return importlib.util.find_spec(library) is not None


def install(library: str) -> str:
    """Say how a library is installed."""
    return f'pip install "flexsearch[{_EXTRAS.get(library, library)}]"'


def require(library: str, *, field: str, nearest: object = None) -> None:
    """Check that a library is installed.

    Raises:
        UserError: it is not; blames `field`, and names the extra.
    """
    if not is_installed(library):
        raise UserError(f"{library} is not installed; {install(library)}", field=field, nearest=nearest)

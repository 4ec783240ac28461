"""Packages that flexsearch does not bring: imported where a metric that is asked for needs one."""

import importlib
from typing import Any

from flexsearch.errors import UserError, reason_of


def load_package(name: str, *, field: str, install: str | None = None) -> Any:
    """Import a package.

    Args:
        name: as it is imported.
        field: for errors.
        install: as pip knows it; None is `name`.

    Raises:
        UserError: it is not installed, or cannot be imported; says how to get it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        what = (
            "is not installed" if getattr(error, "name", None) == name else f"cannot be imported ({reason_of(error)})"
        )
        raise UserError(f"the package {name} {what}: pip install {install or name}", field=field) from None

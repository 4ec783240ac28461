"""Adapters that take diffusers' transformers apart: one file per architecture, named as in `models/architectures`."""

from importlib import import_module
from typing import Any

from flexsearch.models.architectures import architecture_named


def backbone_named(name: str, *, field: str) -> Any:
    """Give the adapter class of an architecture.

    Raises:
        UserError: there is no such architecture.
    """
    module, _, adapter = architecture_named(name, field=field).adapter.partition(":")
    return getattr(import_module(module), adapter)

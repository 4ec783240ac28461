"""Architectures: one file each, found by its place in this package, or in an installed package by its entry point."""

from importlib import import_module
from pkgutil import iter_modules

from flexsearch.models.architectures.architecture import (
    ARCHITECTURES,
    Architecture,
    architecture_named,
    known_checkpoints,
    known_config,
    recognised,
    refusal_of,
    register_architecture,
)

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "architecture_named",
    "known_checkpoints",
    "known_config",
    "recognised",
    "refusal_of",
    "register_architecture",
]

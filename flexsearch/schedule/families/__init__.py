"""Density families: one file each, found by its place in this package, or in an installed package by its entry point.

A family is a kind of segment (a run of blocks) and the roles that its blocks play. What a role computes lies under the
same file name in `flexsearch.models.roles`.
"""

from importlib import import_module
from pkgutil import iter_modules

from flexsearch.schedule.families.segment import FAMILIES, Segment, family_named, register_family

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["FAMILIES", "Segment", "family_named", "register_family"]

"""The colours of every picture, so that a role or a series looks the same wherever it is met.

Roles are told apart by lightness too: what works on fewer tokens is lighter. Safe for the common colour blindnesses.
"""

from flexsearch.schedule.segments import Role

INK = "#1f2a37"
MUTED = "#667085"
GRID = "#d5dae1"

ROLES: dict[Role, str] = {
    "pool": "#f2b84b",
    "merge": "#e2764a",
    "sparse": "#a9dcd3",
    "recover": "#2b9a94",
    "dense": "#24456b",
}
"""By role, in the order of a legend."""

_ON_LIGHT, _ON_DARK = "#141d28", "#ffffff"  # not INK: a page's dark mode changes that

ON_ROLES: dict[Role, str] = {
    "pool": _ON_LIGHT,
    "merge": _ON_LIGHT,
    "sparse": _ON_LIGHT,
    "recover": _ON_DARK,
    "dense": _ON_DARK,
}
"""Of text on a role's colour."""

FRONT = "#0b6e99"
DENSE = "#4a5462"
PAPER = "#d1495b"
OTHER = "#b3bdc9"
CONFIRMED = "#c77d0a"

FRONT_ON_DARK = "#4fb3dc"
DENSE_ON_DARK = "#a7b3c1"

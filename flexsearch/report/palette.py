"""Name the colours of every picture, so that a role or a series looks the same wherever it is met.

A role brings its colour (`flexsearch.schedule.role`). Those of the package are told apart by lightness too: what works
on fewer tokens is lighter. Safe for the common colour blindnesses.
"""

from flexsearch.schedule.role import ROLES

INK = "#1f2a37"
MUTED = "#667085"
GRID = "#d5dae1"

_ON_LIGHT, _ON_DARK = "#141d28", "#ffffff"  # not INK: a page's dark mode changes that

_BRIGHT = 0.33  # relative luminance; text on what is darker is white


def role_colours(role: str) -> tuple[str, str]:
    """Give the colour of a block that plays the role, and of text on it."""
    fill = ROLES[role].colour
    red, green, blue = (int(fill[start : start + 2], 16) / 255 for start in (1, 3, 5))
    luminance = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2  # ITU-R BT.709
    return fill, _ON_LIGHT if luminance > _BRIGHT else _ON_DARK


STEPS = {
    "F": ("#4d6684", _ON_DARK),
    "p": ("#a9bacd", _ON_LIGHT),
    "n": ("#dfe6ee", _ON_LIGHT),
    "m": ("#e9dcc3", _ON_LIGHT),
    "g": ("#d9c08f", _ON_LIGHT),
}
"""Colours of a full, a partial and a null step, of one that takes the data mean or their covariance, too, and of the
letter on each."""

FRONT = "#0b6e99"
FOUND_FREE = "#4fb0a5"
FREE = "#7a5aa6"
DENSE = "#4a5462"
PAPER = "#d1495b"
OTHER = "#b3bdc9"

ON_DARK = {FRONT: "#4fb3dc", FREE: "#b49ae0", DENSE: "#a7b3c1"}
"""What is too dark on a dark page, and what takes its place there."""

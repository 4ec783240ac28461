"""Name the colours of every picture, so that a role or a series looks the same wherever it is met.

A role brings its colour (`flexsearch.schedule.role`). Those of the package are told apart by lightness too: what works
on fewer tokens is lighter. Safe for the common colour blindnesses.
"""

from flexsearch.schedule.role import ROLES

INK = "#1f2a37"
MUTED = "#667085"
GRID = "#d5dae1"

_ON_LIGHT, _ON_DARK = "#141d28", "#ffffff"  # not INK: a page's dark mode changes that


def contrast(one: str, other: str) -> float:
    """Give the contrast of two colours, 1 to 21 (WCAG 2.2); text needs 4.5."""
    dark, bright = sorted((_luminance(one), _luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def role_colours(role: str) -> tuple[str, str]:
    """Give the colour of a block that plays the role, and of text on it."""
    fill = ROLES[role].colour
    return fill, max(_ON_LIGHT, _ON_DARK, key=lambda ink: contrast(ink, fill))


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
FOUND_FREE = "#23877c"
FREE = "#7a5aa6"
DENSE = "#4a5462"
PAPER = "#d1495b"
OTHER = "#b3bdc9"

ON_DARK = {
    FRONT: "#4fb3dc",
    FOUND_FREE: "#4fb0a5",
    FREE: "#b49ae0",
    DENSE: "#a7b3c1",
    PAPER: "#e8707f",
    OTHER: "#6b7789",
}
"""What is too dark, or too bright, on a dark page, and what takes its place there."""

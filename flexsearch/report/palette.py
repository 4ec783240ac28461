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


FRONT = "#0b6e99"
DENSE = "#4a5462"
PAPER = "#d1495b"
OTHER = "#b3bdc9"
CONFIRMED = "#c77d0a"

FRONT_ON_DARK = "#4fb3dc"
DENSE_ON_DARK = "#a7b3c1"

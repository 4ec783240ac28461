"""Name the colours of every picture, so that a role or a series looks the same wherever it is met.

Roles are told apart by lightness too: what works on fewer tokens is lighter. Safe for the common colour blindnesses.
"""

from flexsearch.schedule.roles import LETTERS, Role

INK = "#1f2a37"
MUTED = "#667085"
GRID = "#d5dae1"

_ON_LIGHT, _ON_DARK = "#141d28", "#ffffff"  # not INK: a page's dark mode changes that

_ROLES: dict[Role, tuple[str, str]] = {
    "pool": ("#f2b84b", _ON_LIGHT),
    "merge": ("#e2764a", _ON_LIGHT),
    "sparse": ("#a9dcd3", _ON_LIGHT),
    "recover": ("#2b9a94", _ON_DARK),
    "dense": ("#24456b", _ON_DARK),
}
_FURTHER = ("#7a68b3", "#a8527f", "#66753b", "#85603e")  # roles that packages bring, in the order of their arrival


def role_colours(role: Role) -> tuple[str, str]:
    """Give the colour of a block that plays the role, and of text on it."""
    if role in _ROLES:
        return _ROLES[role]
    further = [known for known in LETTERS if known not in _ROLES]
    return _FURTHER[further.index(role) % len(_FURTHER)], _ON_DARK


FRONT = "#0b6e99"
DENSE = "#4a5462"
PAPER = "#d1495b"
OTHER = "#b3bdc9"
CONFIRMED = "#c77d0a"

FRONT_ON_DARK = "#4fb3dc"
DENSE_ON_DARK = "#a7b3c1"

"""Find how far real images are from the reference: what a perfect model would reach at so many images."""

import json
from collections.abc import Mapping
from typing import Any

from flexsearch.paths import embedded_path

_FILES = ("quickstart/held_out.json",)
_KEYS = ("reference", "extractor_weights")


def held_out_distance(protocol: Mapping[str, Any], *, images: int) -> float | None:
    """Give the distance of real images that are not in the reference; None where nobody measured it.

    Args:
        protocol: of the quality; reference and extractor must be those that real images were measured with.
        images: how many; a distance is comparable at equal numbers only.
    """
    for name in _FILES:
        found = json.loads(embedded_path(name).read_text(encoding="utf-8"))
        if all(protocol.get(key) == found[key] for key in _KEYS):
            distance: float | None = found["distances"].get(str(images))
            return distance
    return None

"""Keep values of one protocol: numbers that were measured differently are never compared."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from flexsearch.measurement import canonical_json

Item = TypeVar("Item")


def one_protocol(items: Iterable[Item], protocol: Callable[[Item], Any]) -> tuple[list[Item], int]:
    """Keep the items under the protocol of most of them, and count the others.

    Args:
        items: what was measured.
        protocol: how an item was measured, as JSON values.
    """
    keyed = [(canonical_json(protocol(item)), item) for item in items]
    most = next(iter(Counter(key for key, _ in keyed).most_common(1)), ("", 0))[0]
    kept = [item for key, item in keyed if key == most]
    return kept, len(keyed) - len(kept)

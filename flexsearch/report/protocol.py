"""Keep values of one protocol: numbers that were measured differently are never compared."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from flexsearch.measurement import canonical_json

Item = TypeVar("Item")


def one_protocol(
    items: Iterable[Item], protocols: Callable[[Item], Sequence[Mapping[str, Any]]]
) -> tuple[list[Item], int]:
    """Keep the items under the protocols of most of them, and count the others.

    Args:
        items: what was measured.
        protocols: how an item was measured, as JSON values.
    """
    written: dict[tuple[int, ...], tuple[Any, str]] = {}  # by identity: most items share the objects themselves

    def key(found: Sequence[Mapping[str, Any]]) -> str:
        same = tuple(map(id, found))
        if same not in written:
            written[same] = found, canonical_json([dict(one) for one in found])  # kept, so that no other gets its id
        return written[same][1]

    keyed = [(key(protocols(item)), item) for item in items]
    most = next(iter(Counter(key for key, _ in keyed).most_common(1)), ("", 0))[0]
    kept = [item for key, item in keyed if key == most]
    return kept, len(keyed) - len(kept)

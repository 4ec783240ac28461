"""Fewer of many, at even distances."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def evenly(items: Sequence[T], num: int) -> list[T]:
    """Pick `num` of the items at even distances, the first and the last among them; all if there are not more."""
    if len(items) <= num:
        return list(items)
    return [items[round(index * (len(items) - 1) / max(num - 1, 1))] for index in range(num)]

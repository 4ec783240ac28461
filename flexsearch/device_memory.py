"""Fewer rows at a time where the device's memory runs out, of what computes rows that are independent: samples drawn,
images encoded and decoded, captions embedded. (Training adds gradients up: `flexsearch.diffusion.share`.)
"""

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch

from flexsearch.errors import Note

_Found = TypeVar("_Found")


class FittingRows:
    """As many rows at a time as fit: all, until memory runs out, and half as many from there on.

    Args:
        doing: what is said when memory runs out, such as "drawing".
    """

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._most: int | None = None

    def __call__(self, compute: Callable[[slice], _Found], num: int) -> list[_Found]:
        """Compute `num` rows, in one part or in several, in their order.

        Args:
            compute: the rows of a slice.
            num: at least 1.

        Raises:
            torch.OutOfMemoryError: one row alone does not fit.
        """
        found: list[_Found] = []
        start = 0
        while start < num:
            rows = slice(start, num if self._most is None else min(start + self._most, num))
            part = self._if_it_fits(compute, rows)
            if part is not None:
                found.append(part)
                start = rows.stop
        return found

    def _if_it_fits(self, compute: Callable[[slice], _Found], rows: slice) -> _Found | None:
        """Give rows; None, and half as many from here on, where memory runs out."""
        num = rows.stop - rows.start
        try:
            return compute(rows)
        except torch.OutOfMemoryError:
            if num == 1:
                raise
        self._most = (num + 1) // 2
        torch.cuda.empty_cache()
        said = f"out of memory while {self._doing} {num} at once: {self._most} at a time from here on"
        warnings.warn(said, Note, stacklevel=4)
        return None

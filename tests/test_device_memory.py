"""Rows that the device's memory does not hold together are computed in parts, and are the same."""

import warnings

import pytest
import torch

from flexsearch.device_memory import FittingRows
from flexsearch.errors import Note


@pytest.mark.parametrize(("room", "parts"), [(7, [7]), (5, [4, 3]), (3, [2, 2, 2, 1]), (1, [1] * 7)])
def test_rows_are_computed_in_order_and_as_many_at_once_as_fit(room: int, parts: list[int]) -> None:
    """Halved as often as need be, once and for all calls."""
    fitting, failed = FittingRows("counting"), 0

    def compute(rows: slice) -> list[int]:
        nonlocal failed
        if rows.stop - rows.start > room:
            failed += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return list(range(rows.start, rows.stop))

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", Note)
        found = fitting(compute, 7)
    assert [len(part) for part in found] == parts
    assert [one for part in found for one in part] == list(range(7))
    assert [str(one.message).split(":")[0] for one in said] == [
        f"out of memory while counting {num} at once" for num in (7, 4, 2)[:failed]
    ]
    before = failed
    assert [one for part in fitting(compute, 6) for one in part] == list(range(6))
    assert failed == before, "what does not fit is not tried again"


def test_one_row_that_does_not_fit_is_an_error() -> None:
    def compute(_: slice) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with (
        pytest.warns(Note, match="while drawing 2 at once: 1 at a time from here on"),
        pytest.raises(torch.OutOfMemoryError),
    ):
        FittingRows("drawing")(compute, 2)

"""Whole numbers as they are typed: `0,1,2`."""

from flexsearch.errors import UserError


def number_list(text: str, *, field: str) -> tuple[int, ...]:
    """The numbers.

    Raises:
        UserError: there are none, or something between commas is not a whole number.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(
            f"must be whole numbers with commas between them, but got {text!r}", field=field, nearest="0,1,2"
        ) from None

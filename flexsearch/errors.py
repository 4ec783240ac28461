"""Exceptions, sorted by who can mend them, and how the world's faults become one of them.

`UserError` and `NotFiniteError` are the user's to mend: the command line prints their one line and exits with 2.
Anything else is our fault: the command line names the log file and exits with 1.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

_MOST = 100  # characters of a value in a message
_LONG = re.compile(rf"(?<!\w)'[^']{{{_MOST},}}'(?!\w)|[^\s']{{201,}}")


class FlexsearchError(Exception):
    """Base of every exception that flexsearch raises on purpose.

    Args:
        message: one sentence with the rule and the value received, e.g. "must be at least 1, but got 0"; long values in
            it are cut.
        field: dotted path of the field or the name of the file, e.g. "space.segments[1].depth".
        nearest: the nearest legal value or the command that mends it, if there is one.
    """

    def __init__(self, message: str, *, field: str | None = None, nearest: object = None) -> None:
        message = _LONG.sub(lambda found: cut(found[0]), message)
        line = message if field is None else f"{field}: {message}"
        if nearest is not None:
            line += f"; nearest legal: {nearest}"
        super().__init__(line)
        self.message = message
        self.field = field
        self.nearest = nearest

    def under(self, prefix: str) -> Self:
        """Give the same error with `prefix` put before its field path."""
        field = prefix if self.field is None else f"{prefix}.{self.field}"
        return type(self)(self.message, field=field, nearest=self.nearest)


class UserError(FlexsearchError):
    """Something that the user typed or supplied cannot be used. It ends a search."""


class NotFiniteError(FlexsearchError):
    """Numbers that must be finite are not: losses, weights, samples, scores. It fails the trial that has them."""


class Note(UserWarning):
    """Something that the user should know and need not mend; printed in one line."""


def cut(text: str, most: int = _MOST) -> str:
    """Take out the middle of a text that is longer than `most` characters."""
    head = (most - 3) * 2 // 3
    return text if len(text) <= most else f"{text[:head]}...{text[len(text) - (most - 3 - head) :]}"


def shown(value: object) -> str:
    """Write a value as an error shows it, on one line of at most 100 characters."""
    return cut(repr(value))


def reason_of(error: BaseException) -> str:
    """Say why something failed, on one line of at most 160 characters."""
    text = getattr(error, "strerror", None) or str(error)
    return cut(" ".join(str(text).split()), 160) or type(error).__name__


@contextmanager
def reading(file: object, *, rule: str = "cannot be read", advice: str = "") -> Iterator[None]:
    """Blame a file for whatever is raised while it is read: libraries raise anything for damaged files.

    Args:
        file: its path, or another name that tells the user which file it is.
        rule: what is wrong.
        advice: what mends it.

    Raises:
        UserError: the block raised an exception; names the file, if it does not yet, and the reason.
    """
    try:
        yield
    except UserError as error:
        if str(file) in str(error):
            raise
        field = str(file) if error.field is None else f"{file}: {error.field}"
        raise UserError(error.message, field=field, nearest=error.nearest) from error
    except Exception as error:
        end = f"; {advice}" if advice else ""
        raise UserError(f"{rule} ({reason_of(error)}){end}", field=str(file)) from error

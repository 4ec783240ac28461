"""Exceptions, sorted by who can mend them.

`UserError` is the user's to mend: the command line prints its one line and exits with 2. Anything else is our fault:
the command line names the log file and exits with 1.
"""


class FlexsearchError(Exception):
    """Base of every exception that flexsearch raises on purpose."""


class Note(UserWarning):
    """Something that costs time or is worth knowing, and stops nothing."""


class UserError(FlexsearchError):
    """Something that the user typed or supplied cannot be used.

    Args:
        message: one sentence with the rule and the value received, e.g. "must be at least 1, but got 0".
        field: dotted path of the field or the name of the file, e.g. "space.segments[1].depth".
        nearest: the nearest legal value or the command that mends it, if there is one.
    """

    def __init__(self, message: str, *, field: str | None = None, nearest: object = None) -> None:
        line = message if field is None else f"{field}: {message}"
        if nearest is not None:
            line += f"; nearest legal: {nearest}"
        super().__init__(line)
        self.message = message
        self.field = field
        self.nearest = nearest

    def under(self, prefix: str) -> "UserError":
        """The same error with `prefix` put before its field path."""
        field = prefix if self.field is None else f"{prefix}.{self.field}"
        return type(self)(self.message, field=field, nearest=self.nearest)


class Diverged(UserError):
    """A training whose numbers are not finite any more."""

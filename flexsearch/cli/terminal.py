"""The terminal: one way to open it, in which text is text. Names of the user's are never read as markup. What it has no
signs for is spelled with those that it has."""

import codecs
import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `--help` waits for none of them
    from rich.console import Console


_ENDLESS = 10_000  # columns of a file or a pipe, in which nothing is wrapped

_SPELLED = {"±": "+-", "─": "-", "…": "..."}


def spell_what_cannot_be_shown() -> None:
    """Have stdout and stderr spell signs that their encoding lacks: none is a reason to stop."""
    codecs.register_error("flexsearch", _spelled)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="flexsearch")


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_SPELLED.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


def open_terminal(*, stderr: bool = False) -> "Console":
    """Open stdout, for results, or stderr, for progress. COLUMNS says how wide a file or a pipe is taken to be."""
    from rich.console import Console

    console = Console(stderr=stderr, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _ENDLESS
    return console

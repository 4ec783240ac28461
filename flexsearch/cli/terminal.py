"""The terminal: one way to open it, in which text is text. Names of the user's are never read as markup."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `--help` waits for none of them
    from rich.console import Console


_ENDLESS = 10_000  # columns of a file or a pipe, in which nothing is wrapped


def open_terminal(*, stderr: bool = False) -> "Console":
    """Open stdout, for results, or stderr, for progress. COLUMNS says how wide a file or a pipe is taken to be."""
    from rich.console import Console

    console = Console(stderr=stderr, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _ENDLESS
    return console

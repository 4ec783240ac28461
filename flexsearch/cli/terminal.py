"""The terminal: one way to open it, in which text is text. Names of the user's are never read as markup."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `--help` waits for none of them
    from rich.console import Console


def open_terminal(*, stderr: bool = False) -> "Console":
    """Open stdout, for results, or stderr, for progress."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False)

"""The command line. Assembles the commands, one file each, and turns the end of one into an exit status.

Commands parse, call the library, and print. Heavy imports wait until a command runs.
"""

import sys
import warnings
from typing import Annotated, Any

import typer

from flexsearch import __version__
from flexsearch.cli import (
    choose,
    compare,
    confirm,
    dashboard,
    encode,
    export,
    front,
    init,
    plan,
    pretrain,
    profile,
    remeasure,
    report,
    run,
    sample,
    schema,
    show,
    spaces,
    train,
)
from flexsearch.cli.ending import INTERRUPTED, ending_of, printable
from flexsearch.cli.groups import grouped
from flexsearch.cli.terminal import spell_what_cannot_be_shown
from flexsearch.errors import Note
from flexsearch.old_names import OldName

_GROUPS = {
    "Search": (init, plan, profile, run, remeasure),
    "Look": (front, report, dashboard, show, compare),
    "Decide": (confirm, choose),
    "Take": (export, train, sample),
    "Prepare": (spaces, schema, encode, pretrain),
}

app = typer.Typer(
    name="flexsearch",
    help="Find the token-density schedule of a diffusion transformer, for your model, GPU and latency budget.",
    epilog="Start with: flexsearch run quickstart",
    cls=grouped(_GROUPS),
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for modules in _GROUPS.values():
    for module in modules:
        app.add_typer(module.command)


def main() -> None:
    """Run a command and end with its exit status: 0, 2 (the user can mend it), 1 (our fault), 130 (interrupted)."""
    spell_what_cannot_be_shown()
    _print_notes()
    try:
        code = app(standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BaseException as error:
        ending_of(error).leave()
    if code == INTERRUPTED:  # typer turns an interrupt into this status
        ending_of(KeyboardInterrupt()).leave()
    sys.exit(code if isinstance(code, int) else 0)


def _print_notes() -> None:
    """Print our own warnings as notes of one line; others stay as Python prints them."""
    for category in (OldName, Note):
        warnings.simplefilter("always", category)
    show = warnings.showwarning

    def note(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
        if issubclass(category, OldName | Note):
            print(printable(f"note: {message}"), file=sys.stderr)
        else:
            show(message, category, *place, **options)

    warnings.showwarning = note


@app.callback(invoke_without_command=True)
def _root(
    ctx: typer.Context, version: Annotated[bool, typer.Option("--version", "-V", help="print the version")] = False
) -> None:
    if version:
        print(__version__)
    elif ctx.invoked_subcommand is None:
        print(ctx.get_help())

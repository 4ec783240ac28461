"""The command line. Assembles the commands, one file each, and turns the end of one into an exit status.

Commands parse, call the library, and print. Heavy imports wait until a command runs.
"""

import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Annotated, Any, NoReturn

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
    plan,
    pretrain,
    profile,
    report,
    run,
    sample,
    show,
    train,
)
from flexsearch.errors import UserError
from flexsearch.old_names import OldName

app = typer.Typer(
    name="flexsearch",
    help="Find the token-density schedule of a diffusion transformer, for your model, GPU and latency budget.",
    epilog="Start with: flexsearch run search_spaces/quickstart.yaml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    plan.command,
    profile.command,
    run.command,
    front.command,
    confirm.command,
    show.command,
    choose.command,
    compare.command,
    report.command,
    dashboard.command,
    export.command,
    train.command,
    sample.command,
    pretrain.command,
    encode.command,
):
    app.add_typer(command)

_INTERRUPTED = 130


def main() -> None:
    """Run a command and end with its exit status: 0, 2 (the user can mend it), 1 (our fault), 130 (interrupted)."""
    _note_old_names()
    try:
        code = app(standalone_mode=False)  # typer turns an interrupt into this status
    except UserError as error:
        _stop(f"error: {error}", 2)
    except typer.TyperException as error:  # wrong usage
        _stop(f"error: {error.format_message()}", 2)
    except Exception as error:
        log = _write_log(traceback.format_exc())
        _stop(f"internal error: {type(error).__name__}: {error}\nthe traceback is in {log}", 1)
    if code == _INTERRUPTED:
        _stop("interrupted: nothing is lost, the same command goes on", _INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _note_old_names() -> None:
    """Print the warning of an old name as one note; other warnings stay as Python prints them."""
    warnings.simplefilter("always", OldName)
    show = warnings.showwarning

    def note(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
        if issubclass(category, OldName):
            print(f"note: {message}", file=sys.stderr)
        else:
            show(message, category, *place, **options)

    warnings.showwarning = note


def _stop(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(code)


def _write_log(text: str) -> Path:
    with tempfile.NamedTemporaryFile("w", prefix="flexsearch-", suffix=".log", delete=False) as log:
        log.write(text)
    return Path(log.name)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        print(__version__)

"""Say how a command ends: whatever the world throws becomes short lines and an exit status, here and nowhere else.

0: done. 2: the user can mend it. 130: interrupted. 1: our fault; the traceback goes into a log file.
"""

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

import typer

from flexsearch.cli.typed import as_typed
from flexsearch.errors import NotFiniteError, UserError, cut, reason_of
from flexsearch.files import disk_fault

INTERRUPTED = 130

_MOST = 300  # characters of a line
_DATABASE = (
    "OperationalError",
    "DatabaseError",
    "InterfaceError",
    "ProgrammingError",
    "DataError",
    "NotSupportedError",
)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """An exit status, and what is printed on stderr before."""

    status: int
    text: str = ""

    def leave(self) -> None:
        """Print and end the process, also where nobody reads any more.

        Raises:
            SystemExit: always.
        """
        try:
            if self.text:
                print(printable(self.text), file=sys.stderr)
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
        except OSError:  # else Python flushes again, and complains
            _silence()
        sys.exit(self.status)


def ending_of(error: BaseException) -> Ending:
    """Say how an exception ends the program."""
    causes = list(_causes(error))
    if any(isinstance(one, KeyboardInterrupt) for one in causes):  # libraries turn it into others
        return Ending(status=INTERRUPTED, text="interrupted: nothing is lost, the same command goes on")
    if isinstance(error, SystemExit | BrokenPipeError) and any(isinstance(one, BrokenPipeError) for one in causes):
        _silence()  # the reader has what it wanted; typer and rich make it an exit with 1
        return Ending(status=0)
    if isinstance(error, SystemExit):
        return Ending(status=error.code if isinstance(error.code, int) else 1)
    if isinstance(error, UserError | NotFiniteError):
        return _mendable(str(error))
    if isinstance(error, typer.TyperException):  # wrong usage
        return _mendable(_with_example(error))
    for one in causes:
        if type(one).__module__.startswith("sqlalchemy") and type(one).__name__ in _DATABASE:
            return _mendable(f"the study's database: {reason_of(getattr(one, 'orig', None) or one)}")
    if isinstance(error, RuntimeError):  # of Python's before 3.13, for links to themselves
        error = next((one for one in causes if isinstance(one, OSError) and one.errno == errno.ELOOP), error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return _mendable(f"{where}{reason_of(error)}")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return _mendable(f"not enough memory ({reason_of(error)})")
    if (refused := disk_fault(error)) is not None:  # in an error of a library that writes by itself
        return _mendable(f"a file cannot be written ({refused}); mend it, and the same command goes on")
    first = f"internal error: {type(error).__name__}: {reason_of(error)}"
    return Ending(status=1, text=f"{first}\n{_write_log(error)}")


def printable(text: str) -> str:
    """Cut lines to 300 characters, and write what a terminal would obey as what it is."""
    lines = ("".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in line) for line in text.split("\n"))
    return "\n".join(cut(line, _MOST) for line in lines)


def _mendable(text: str) -> Ending:
    return Ending(status=2, text="\n".join(f"error: {line}" for line in as_typed(text).split("\n")))


def _with_example(error: typer.TyperException) -> str:
    """Say what is wrong with what was typed, and show the command as the end of its help does."""
    said, command = error.format_message(), getattr(getattr(error, "ctx", None), "command", None)
    example = getattr(command, "epilog", None) or ""
    return f"{said.rstrip('.')}. {example}" if example.startswith("Example") else said


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Go from an exception to what it came from."""
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def _silence() -> None:
    """Let what is still to be written go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            os.dup2(nowhere, stream.fileno())
        except (OSError, ValueError, AttributeError):  # closed, or no file
            continue


def _write_log(error: BaseException) -> str:
    """Keep the traceback, and say where."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="flexsearch-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as log:
            log.write("".join(traceback.format_exception(error)))
    except OSError as full:
        return f"the traceback could not be kept ({reason_of(full)})"
    return f"the traceback is in {log.name}"

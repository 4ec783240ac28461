"""Whatever the world throws ends in short lines and the right exit status; text of the user's is never markup."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from builders import Call

from flexsearch.cli import ending
from flexsearch.cli.ending import ending_of, printable
from flexsearch.cli.terminal import open_terminal, spell_what_cannot_be_shown
from flexsearch.errors import NotFiniteError, UserError, reading, shown

SPACE = Path(__file__).parents[2] / "search_spaces" / "quickstart.yaml"


class OperationalError(Exception):
    """Stands for SQLAlchemy's."""

    __module__ = "sqlalchemy.exc"
    orig = OSError("database is locked")


def chained(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (UserError("is wrong", field="a.b"), 2, "error: a.b: is wrong"),
        (UserError("x\ny: z"), 2, "error: x\nerror: y: z"),
        (NotFiniteError("samples are not finite"), 2, "error: samples are not finite"),
        (PermissionError(13, "Permission denied", "/run/x"), 2, "error: /run/x: Permission denied"),
        (chained(RuntimeError("Symlink loop"), OSError(errno.ELOOP, "a loop", "/run/x")), 2, "error: /run/x: a loop"),
        (OSError(28, "No space left on device"), 2, "error: No space left on device"),
        (
            chained(RuntimeError("unexpected pos"), OSError(28, "No space left on device")),
            2,
            "error: a file cannot be ",
        ),
        (RuntimeError("I/O error: No space left on device (os error 28)"), 2, "error: a file cannot be written (No sp"),
        (OperationalError(), 2, "error: the study's database: database is locked"),
        (chained(RuntimeError("optuna's"), OperationalError()), 2, "error: the study's database: database is locked"),
        (chained(typer.Abort(), EOFError("ran out of input")), 1, "internal error: Abort"),
        (MemoryError(), 2, "error: not enough memory (MemoryError)"),
        (KeyboardInterrupt(), 130, "interrupted: nothing is lost, the same command goes on"),
        (chained(ImportError("numpy"), KeyboardInterrupt()), 130, "interrupted: nothing is lost"),
        (typer.BadParameter("no such option"), 2, "error: "),
        (chained(SystemExit(3), ValueError()), 3, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_every_end_has_a_status_and_short_lines(error: BaseException, status: int, text: str) -> None:
    found = ending_of(error)
    assert found.status == status
    assert found.text.startswith(text)


def test_a_reader_that_left_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    silenced: list[bool] = []
    monkeypatch.setattr(ending, "_silence", lambda: silenced.append(True))
    assert ending_of(chained(SystemExit(1), BrokenPipeError())).status == 0
    assert silenced


def test_lines_are_cut_and_terminals_obey_nothing() -> None:
    assert printable("a\x1b[2Jb\ud800") == "a\\x1b[2Jb\\ud800"
    assert len(printable("x" * 1000)) == 300
    assert len(shown("x" * 10**6)) == 100
    assert len(str(UserError(f"must be 1, but got {'y' * 10**5!r}", field="a"))) < 150
    assert str(UserError("ADM's file, " + "word " * 40 + "the base's own")).endswith("word the base's own")


def test_a_file_is_blamed_for_what_its_reader_raises(tmp_path: Path) -> None:
    def read(error: Exception) -> None:
        with reading(tmp_path / "x", advice="make another"):
            raise error

    for error in (RecursionError("deep"), KeyError("a"), AttributeError("b"), OverflowError("c")):
        with pytest.raises(UserError, match=r"/x: cannot be read \(.*\); make another$"):
            read(error)
    with pytest.raises(UserError, match=r"/x: a\.b: is wrong; nearest legal: 3$"):
        read(UserError("is wrong", field="a.b", nearest=3))


def test_text_is_never_markup(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("[/]", "[bold]x[/]", "[x]", ":smile:"):
        open_terminal().print(name)
        assert capsys.readouterr().out == f"{name}\n"


@pytest.mark.parametrize("name", ["[bold]", "[x]", "a[red]b"])
def test_a_plan_of_any_name_is_printed(flexsearch: Call, name: str) -> None:
    outcome = flexsearch("plan", SPACE, "--set", f'name="{name}"')
    assert outcome.code == 0
    assert name in outcome.out


PROGRAM = f"import sys; from flexsearch.__main__ import main; sys.argv[1:] = ['plan', {str(SPACE)!r}]; main()"


@pytest.fixture
def run_program(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    def run(end: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        command = f'"{sys.executable}" -c "{PROGRAM}" {end}'
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **environment},
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("end", "status", "err"),
    [("> /dev/full", 2, "error: No space left on device\n"), ("| true", 0, ""), (">&-", 0, "")],
    ids=["full", "left", "closed"],
)
def test_where_nobody_reads(run_program: Call, end: str, status: int, err: str) -> None:
    found = run_program(end)
    assert (found.returncode, found.stderr) == (status, err)


def test_a_terminal_that_knows_ascii_alone(run_program: Call) -> None:
    found = run_program("", PYTHONIOENCODING="ascii")
    assert (found.returncode, found.stderr) == (0, "")
    assert "quickstart" in found.stdout


def test_signs_that_an_encoding_lacks_are_spelled(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with open(os.dup(1), "w", encoding="ascii") as stdout, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", stdout)
        spell_what_cannot_be_shown()
        print("2.49 ±0.03 ── é")
    assert capfdbinary.readouterr().out == b"2.49 +-0.03 -- ?\n"


def test_wrong_usage_shows_an_example(flexsearch: Call) -> None:
    assert "'OUT'. Example: flexsearch export " in flexsearch("export", "runs/x", "knee").err
    assert flexsearch("fron").err.endswith("Did you mean 'front'?\n")


def test_an_interrupt_while_python_imports_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    found = subprocess.run(
        [sys.executable, "-c", f"import signal; signal.signal(2, signal.default_int_handler); {PROGRAM}"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=False,
    )
    assert (found.returncode, found.stderr) == (130, "interrupted: nothing is lost, the same command goes on\n")

"""Every command line in README, documentation and help exists, with the options that it names."""

import re
import runpy
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import typer
from fences import PAGES, ROOT, command_lines, fences, flexsearch_arguments

from flexsearch.cli.app import app

PROGRAM: Any = typer.main.get_command(app)
COMMANDS = PROGRAM.commands


def documented() -> Iterator[tuple[str, list[str]]]:
    """Where a command line stands, and what flexsearch is called with in it."""
    for page in PAGES:
        for fence in fences(page):
            for words in command_lines(fence):
                arguments = flexsearch_arguments(words)
                if arguments is not None:
                    yield str(fence), arguments


def check(arguments: Sequence[str]) -> None:
    """Parses a command line as the program does, without running the command."""
    name, *rest = arguments
    if name.startswith("-"):
        PROGRAM.make_context("flexsearch", list(arguments))
        return
    assert name in COMMANDS, f"there is no command {name}, only {sorted(COMMANDS)}"
    COMMANDS[name].make_context(name, list(rest))  # raises where an option, an argument or a value is wrong


@pytest.mark.parametrize(
    ("where", "arguments"), [pytest.param(*one, id=f"{one[0]}-{one[1][0]}") for one in documented()]
)
def test_documented_command_lines_parse(where: str, arguments: list[str]) -> None:
    check(arguments)


def test_commands_that_a_text_names_exist() -> None:
    named = {name for page in PAGES for name in re.findall(r"(?:`|uv run )flexsearch ([a-z]+)\b", page.read_text())}
    assert named <= set(COMMANDS)
    assert len(named) > len(COMMANDS) / 2, "the pattern finds them"


def test_command_lines_are_found() -> None:
    """A change of how pages are written does not hide their commands from the test above."""
    pages = {where.rpartition(":")[0] for where, _ in documented()}
    assert {"README.md", "docs/tutorials/dit_xl.md", "docs/tutorials/small_data.md"} <= pages


def test_a_wrong_command_line_is_told() -> None:
    for line in ("plan", "plan a.yaml --jsn", "fly", "run a.yaml --executor slurm"):
        with pytest.raises(Exception, match=r"Missing|No such option|no command|is not one of"):
            check(shlex.split(line))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_an_example_that_parses(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert [one.name for one in command.params if not getattr(one, "help", None) and one.name != "help"] == []
    assert command.epilog.startswith("Example: flexsearch ")
    for line in command.epilog.split("Example: ")[1:]:
        arguments = flexsearch_arguments(shlex.split(line))
        assert arguments[0] == name
        check(arguments)


def test_the_page_of_commands_is_up_to_date() -> None:
    """`uv run python docs/make_commands.py` writes it."""
    written = runpy.run_path(str(ROOT / "docs" / "make_commands.py"))["commands_page"]()
    assert (ROOT / "docs" / "commands.md").read_text() == written

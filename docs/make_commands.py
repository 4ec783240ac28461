"""Writes docs/commands.md: every command with what its `--help` says; and search_spaces/space.json, the schema that
editors read. Run it after changing a command or a setting.

uv run python docs/make_commands.py
"""

import json
from pathlib import Path

import typer
from typer.testing import CliRunner

from flexsearch.cli.app import app
from flexsearch.config import config_schema

PAGE = Path(__file__).parent / "commands.md"
SCHEMA = Path(__file__).parents[1] / "search_spaces" / "space.json"
_WIDTH = 96

_HEAD = """# Commands

This page is what `flexsearch COMMAND --help` prints; `docs/make_commands.py` writes it.

`SPACE` is a search space: a YAML file, or the name of a shipped one (`flexsearch spaces`). A file of exactly that name
goes first; where there is a `NAME.yaml`, a note says which is meant. `RUN` is a run directory.
JSON goes to stdout alone, everything else to stderr.

| exit status | means |
|---|---|
| 0 | done |
| 2 | something that you can mend; one line says what |
| 1 | our fault; a log file is named |
| 130 | interrupted; the same command goes on |
"""


def help_of(*words: str) -> str:
    """What `flexsearch WORDS --help` prints, at a fixed width."""
    printed = CliRunner().invoke(app, [*words, "--help"], prog_name="flexsearch", terminal_width=_WIDTH)
    if printed.exit_code:
        raise RuntimeError(f"flexsearch {' '.join(words)} --help ended with {printed.exit_code}: {printed.output}")
    return "\n".join(line.rstrip() for line in printed.stdout.strip().splitlines())


def commands_page() -> str:
    """The page."""
    names = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    parts = [_HEAD, f"```text\n{help_of()}\n```\n"]
    parts += [f"## {name}\n\n```text\n{help_of(name)}\n```\n" for name in names]
    return "\n".join(parts)


def schema_text() -> str:
    """What `flexsearch schema` prints."""
    return json.dumps(config_schema(), indent=2) + "\n"


if __name__ == "__main__":
    PAGE.write_text(commands_page())
    SCHEMA.write_text(schema_text())

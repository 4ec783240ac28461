"""`flexsearch spaces`: lists the search spaces that come with flexsearch, prints one, or copies it."""

import sys
from pathlib import Path
from textwrap import fill
from typing import Annotated

import typer

from flexsearch.cli.terminal import open_terminal
from flexsearch.cli.typed import as_typed
from flexsearch.errors import UserError
from flexsearch.paths import SCHEMA, as_word, nearest_space, shipped_spaces

command = typer.Typer()


@command.command(epilog="Example: flexsearch spaces dit_xl --copy mine.yaml")
def spaces(
    name: Annotated[str | None, typer.Argument(help="print this one", metavar="NAME")] = None,
    copy: Annotated[
        Path | None, typer.Option(help="write it here, to be changed, and beside it space.json, for editors")
    ] = None,
) -> None:
    """List the search spaces that come with flexsearch; their names stand for files in every command."""
    shipped = shipped_spaces()
    if name is None:
        if copy is not None:
            raise UserError(
                "needs the NAME of a space", field="--copy", nearest="flexsearch spaces quickstart --copy FILE"
            )
        width = max(map(len, shipped)) + 2
        room = max(open_terminal().width, 2 * width)
        for known, file in shipped.items():
            told = _described(file.read_text(encoding="utf-8"))
            print(fill(told, room, initial_indent=f"{known:{width}}", subsequent_indent=" " * width))
        return
    if name not in shipped:
        raise UserError(
            f"must be the name of a shipped space, but got {name!r}", field="NAME", nearest=nearest_space(name)
        )
    text = shipped[name].read_text(encoding="utf-8")
    if copy is None:
        print(text, end="")
        return
    if copy.exists():
        raise UserError("exists already", field=str(copy))
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(text, encoding="utf-8")
    schema = shipped[name].with_name(SCHEMA)
    if not (beside := copy.with_name(SCHEMA)).exists():
        beside.write_bytes(schema.read_bytes())
    print(f"{copy} is written. Next: {as_typed(f'flexsearch plan {as_word(copy)}')}", file=sys.stderr)


def _described(text: str) -> str:
    """Give the first sentence of a space's head, in parentheses too."""
    head = " ".join(line.removeprefix("#").strip() for line in text.split("\nname:")[0].splitlines())
    return head.split(". ")[0].rstrip(".")

"""Arguments and options that several commands share, and how their values are read, checked and printed."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from flexsearch.errors import UserError, shown

Space = Annotated[Path, typer.Argument(help="search space: a YAML file, or the name of a shipped one", metavar="SPACE")]
RunDir = Annotated[Path, typer.Argument(help="run directory", metavar="RUN")]
TRIAL = "its number, best, knee, or a latency: 8ms is the best within it"
Trial = Annotated[str, typer.Argument(help=TRIAL, metavar="TRIAL")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="override a field, e.g. search.trials=20")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout")]


def print_json(values: Any) -> None:
    """Print one JSON object on stdout."""
    print(json.dumps(values, indent=2))


def whole_numbers(text: str, *, field: str) -> tuple[int, ...]:
    """Read whole numbers as they are typed: `0,1,2`.

    Raises:
        UserError: there are none, or something between commas is not a whole number.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(
            f"must be whole numbers with commas between them, but got {shown(text)}", field=field, nearest="0,1,2"
        ) from None


def check_picture(path: Path, *, option: str) -> None:
    """Check that a picture can be written in the format of its name.

    Raises:
        UserError: it ends in something else.
    """
    if path.suffix not in (".png", ".svg", ".pdf"):
        nearest = f"{path.stem or 'front'}.png"
        raise UserError(f"must end in .png, .svg or .pdf, but got {path.name!r}", field=option, nearest=nearest)

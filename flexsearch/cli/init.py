"""`flexsearch init`: writes a search space for a pipeline of diffusers, from its configuration."""

from pathlib import Path
from typing import Annotated

import typer

from flexsearch.errors import UserError

command = typer.Typer()


@command.command(epilog="Example: flexsearch init PixArt-alpha/PixArt-XL-2-512x512 --out space.yaml")
def init(
    checkpoint: Annotated[
        str, typer.Argument(help="folder of a diffusers pipeline, or its name on the hub", metavar="CHECKPOINT")
    ],
    out: Annotated[Path, typer.Option(help="the file to write")] = Path("space.yaml"),
    revision: Annotated[str | None, typer.Option(help="of a pipeline on the hub")] = None,
) -> None:
    """Write a commented search space for any pipeline of diffusers whose model is supported, and say what it needs and
    costs. Reads configurations alone: no weights are needed or downloaded."""
    if out.exists():
        raise UserError("exists already", field=str(out), nearest=f"--out {out.stem}-2{out.suffix}")

    from flexsearch.cli.terminal import open_terminal
    from flexsearch.cli.typed import as_typed
    from flexsearch.files import write_atomically
    from flexsearch.first_space import first_space
    from flexsearch.models.pipeline_config import read_pipeline
    from flexsearch.paths import SCHEMA, as_word, shipped_spaces

    text = first_space(read_pipeline(checkpoint, revision=revision))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, text)
    schema = next(iter(shipped_spaces().values())).with_name(SCHEMA)
    if not (beside := out.with_name(SCHEMA)).exists():
        beside.write_bytes(schema.read_bytes())
    console = open_terminal()
    for line in text.splitlines():
        if not line.startswith("#") or "yaml-language-server" in line:
            break
        console.print(as_typed(line.removeprefix("# ")), highlight=False, markup=False, soft_wrap=True)
    console.print()
    console.print(
        f"{out} is written. Next: {as_typed(f'flexsearch plan {as_word(out)}')}", highlight=False, soft_wrap=True
    )

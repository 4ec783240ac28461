"""`flexsearch sample`: draws images or videos from an exported model or a base."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from flexsearch.cli.options import whole_numbers
from flexsearch.processors import make_way

command = typer.Typer()


@command.command(epilog="Example: flexsearch sample exported --out samples.png --dense --classes 3,7 --seeds 0,1")
def sample(
    model: Annotated[
        str, typer.Argument(help="exported folder, or a base such as embedded:quickstart", metavar="MODEL")
    ],
    out: Annotated[Path, typer.Option(help="picture to write")],
    num: Annotated[int, typer.Option(help="images per seed")] = 40,
    steps: Annotated[
        int | None, typer.Option(help="sampler steps; solver and reuse stay; default those of the export, else 50")
    ] = None,
    seeds: Annotated[
        Sequence[int] | None,
        typer.Option(
            "--seeds",
            "--seed",
            parser=partial(whole_numbers, field="--seeds"),
            metavar="<int,...>",
            help="of the noise, e.g. 0,1,2; default 0",
        ),
    ] = None,
    guidance: Annotated[float, typer.Option(help="classifier-free guidance; 1 is none")] = 1.0,
    classes: Annotated[
        Sequence[int] | None,
        typer.Option(
            parser=partial(whole_numbers, field="--classes"),
            metavar="<int,...>",
            help="labels to take in turn, e.g. 3,7; default all",
        ),
    ] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="what to draw; repeatable, taken in turn")] = None,
    dense: Annotated[bool, typer.Option("--dense", help="beside each image the dense base's, from one noise")] = False,
) -> None:
    """Draw images or videos from an exported model or a base. Several seeds or --dense give rows with captions."""
    make_way()
    from flexsearch.export.samples import SampleRequest, draw

    request = SampleRequest(
        num=num,
        steps=steps,
        seeds=tuple(seeds or (0,)),
        guidance=guidance,
        prompts=tuple(prompt or ()),
        classes=tuple(classes or ()),
        beside_dense=dense,
    )
    print(draw(model, out, request), file=sys.stderr)

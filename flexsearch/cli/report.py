"""`flexsearch report`: writes one self-contained page of a run."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from flexsearch.cli.options import RunDir

command = typer.Typer()


@command.command(epilog="Example: flexsearch report runs/quickstart quickstart.html")
def report(
    run_dir: RunDir, out: Annotated[Path, typer.Argument(help="page to write, ends in .html", metavar="OUT")]
) -> None:
    """Write one page of a run: front, images, schedules, protocols. It is one file, and opens without a network."""
    from flexsearch.cli.results import front_of_run, open_run
    from flexsearch.report.page import write_page

    run = open_run(run_dir)
    write_page(run, front_of_run(run), out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, opens in any browser", file=sys.stderr)

"""`flexsearch report`: writes or serves one self-contained page of a run."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from flexsearch.cli.options import RunDir
from flexsearch.errors import UserError

command = typer.Typer()


@command.command(epilog="Example: flexsearch report runs/quickstart quickstart.html")
def report(
    run_dir: RunDir,
    out: Annotated[Path | None, typer.Argument(help="page to write, ends in .html", metavar="OUT")] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="serve it instead, up to date with a search that runs")
    ] = False,
    port: Annotated[int, typer.Option(help="of --serve, on this machine only")] = 8090,
) -> None:
    """Write one page of a run: front, images, schedules, protocols. It is one file, and opens without a network."""
    if (out is None) != serve:
        got = "neither" if out is None else "both"
        raise UserError(f"either this or --serve must be given, but got {got}", field="OUT", nearest="report.html")
    from flexsearch.cli.results import front_of_run, open_run

    run = open_run(run_dir)
    if out is None:
        from flexsearch.report.live import serve_page

        serve_page(run, port=port)
        return
    from flexsearch.report.page import write_page

    write_page(run, front_of_run(run), out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, opens in any browser", file=sys.stderr)

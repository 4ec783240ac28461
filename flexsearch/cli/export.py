"""`flexsearch export`: writes a trial's model into a folder, with graphs if asked."""

import sys
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from flexsearch.cli.options import RunDir, Trial

command = typer.Typer()


@command.command(epilog="Example: flexsearch export runs/quickstart 7 exported --onnx")
def export(
    run_dir: RunDir,
    trial: Trial,
    out: Annotated[Path, typer.Argument(help="folder to make", metavar="OUT")],
    onnx: Annotated[bool, typer.Option("--onnx", help="add OUT/onnx: an ONNX graph for each computation")] = False,
    programs: Annotated[
        bool, typer.Option("--torch-export", help="add OUT/torch_export: a torch.export program for each")
    ] = False,
) -> None:
    """Export a trial's model with schedule, recipe and card. It is safetensors, and checked by rebuilding it."""
    from flexsearch.cli.results import open_run
    from flexsearch.export.graphs import require_onnx, write_graphs
    from flexsearch.export.model import export_trial

    if onnx:
        require_onnx()
    lines = export_trial(open_run(run_dir), trial, out)
    for line in chain(lines, write_graphs(out, onnx=onnx, programs=programs)):
        print(line, file=sys.stderr)

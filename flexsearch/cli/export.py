"""`flexsearch export`: writes a trial's model into a folder, with graphs if asked."""

import sys
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from flexsearch.cli.options import RunDir, Trial
from flexsearch.cli.typed import as_typed

command = typer.Typer()


@command.command(epilog="Example: flexsearch export runs/quickstart best exported --onnx")
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
    from flexsearch.report.trial_word import trial_number

    if onnx:
        require_onnx()
    run = open_run(run_dir)
    lines = export_trial(run, trial_number(run, trial), out)
    for line in chain(lines, write_graphs(out, onnx=onnx, programs=programs)):
        print(as_typed(line), file=sys.stderr)

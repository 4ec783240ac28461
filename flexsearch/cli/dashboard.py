"""`flexsearch dashboard`: serves optuna-dashboard on a run."""

from typing import Annotated

import typer

from flexsearch.cli.options import RunDir

command = typer.Typer()


@command.command(epilog="Example: flexsearch dashboard runs/quickstart --port 8080")
def dashboard(run_dir: RunDir, port: Annotated[int, typer.Option(help="on this machine only")] = 8080) -> None:
    """Serve optuna-dashboard on a run, with images and the front."""
    from flexsearch.cli.results import open_run
    from flexsearch.extras import require

    require("optuna_dashboard", field="dashboard")
    from flexsearch.report.dashboard import serve

    serve(open_run(run_dir), port=port)

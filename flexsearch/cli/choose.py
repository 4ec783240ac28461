"""`flexsearch choose`: chooses a trial of the front, and says why."""

import warnings
from typing import TYPE_CHECKING, Annotated

import typer

from flexsearch.cli.options import AsJson, RunDir, print_json
from flexsearch.cli.terminal import open_terminal
from flexsearch.cli.typed import as_typed
from flexsearch.errors import UserError
from flexsearch.old_names import OldName
from flexsearch.paths import as_word

if TYPE_CHECKING:  # `--help` waits for none of them
    from rich.console import Console

    from flexsearch.report.choice import Choice

command = typer.Typer()


@command.command(epilog="Example: flexsearch choose runs/quickstart --max-latency 6.5")
def choose(
    run_dir: RunDir,
    max_latency: Annotated[float | None, typer.Option(help="ms per image: the best within it")] = None,
    max_quality: Annotated[float | None, typer.Option(help="of the quality objective: the fastest within it")] = None,
    max_fid: Annotated[float | None, typer.Option(hidden=True, help="old name of --max-quality")] = None,
    knee: Annotated[bool, typer.Option("--knee", help="the point farthest from the front's chord")] = False,
    as_json: AsJson = False,
) -> None:
    """Choose a trial, the fastest beside what is free or by a rule, and say why."""

    from flexsearch.cli.results import front_of_run, open_run
    from flexsearch.report import choice

    if max_fid is not None:
        if max_quality is not None:
            raise UserError("is the old name of --max-quality, but got both", field="--max-fid")
        warnings.warn("--max-fid is called --max-quality now", OldName, stacklevel=2)
        max_quality = max_fid
    front = front_of_run(open_run(run_dir))
    found = choice.choose(front, max_latency_ms=max_latency, max_quality=max_quality, knee=knee)
    export = f"flexsearch export {as_word(run_dir)} {found.point.record.number} exported"
    if as_json:
        print_json({**found.to_dict(), "export": export})
    else:
        print_choice(found, export, open_terminal())


def print_choice(found: "Choice", export: str, console: "Console") -> None:
    """Print the trial, the reasons, and the command that exports it."""
    from flexsearch.report.choice import reasons
    from flexsearch.schedule.run_lengths import run_lengths

    record = found.point.record
    candidate = run_lengths(str(record.candidate))
    console.print(f"trial {record.number}: {candidate}, digest {record.digest}", highlight=False, style="bold")
    for line in reasons(found):
        console.print(as_typed(line), highlight=False)
    console.print(as_typed(f"take it: {export}"), highlight=False, soft_wrap=True)

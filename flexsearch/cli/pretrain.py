"""`flexsearch pretrain`: trains a dense base where there is none."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flexsearch.cli.options import Overrides, Space
from flexsearch.cli.terminal import open_terminal
from flexsearch.errors import UserError
from flexsearch.processors import make_way

if TYPE_CHECKING:  # `--help` waits for none of them
    from flexsearch.diffusion.training import Step
    from flexsearch.models.flexdit import FlexDiT

_REPORT_EVERY = 50

command = typer.Typer()


@command.command(epilog="Example: flexsearch pretrain fashion_mnist")
def pretrain(space: Space, overrides: Overrides = None) -> None:
    """Train a dense base where there is none. It is made in the folder base.checkpoint; the same command resumes."""
    make_way()
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from flexsearch.config import load_config
    from flexsearch.paths import PREFIX
    from flexsearch.trial import pretrain as training
    from flexsearch.trial.device import trial_device

    config = load_config(space, overrides or ())
    if config.pretrain is None:
        raise UserError("is missing: how to train the base, e.g. {updates: 10000}", field="pretrain")
    out = Path(config.base.checkpoint).expanduser()
    is_done = (out / "transformer").exists() and not (out / training.CHECKPOINT).exists()
    if config.base.checkpoint.startswith(PREFIX) or is_done:
        raise UserError("is there already", field=f"base.checkpoint: {config.base.checkpoint}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=open_terminal()) as progress:
        task = progress.add_task("pretraining", total=config.pretrain.updates)
        losses: list[float] = []

        def report(step: "Step", _: "FlexDiT") -> None:
            losses.append(step.loss)
            progress.update(task, completed=step.update)
            if step.update % _REPORT_EVERY == 0:
                mean = sum(losses[-_REPORT_EVERY:]) / len(losses[-_REPORT_EVERY:])
                progress.console.print(f"update {step.update}: loss {mean:.4f}")

        training.pretrain(
            config.base,
            config.data,
            config.pretrain,
            out=out,
            seed=config.search.seed,
            device=trial_device(),
            report=report,
        )
    print(f"{out}: a dense base after {config.pretrain.updates} updates")

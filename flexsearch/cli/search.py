"""`flexsearch run`: the search with its live progress, and what it ends with."""

import time
from pathlib import Path

from rich.console import Console as Terminal

from flexsearch.cli.progress import SearchProgress
from flexsearch.cli.results import print_front, write_front
from flexsearch.config import RunConfig
from flexsearch.report.front import front_of
from flexsearch.report.gain import largest_gain
from flexsearch.study.executor import ExecutorName
from flexsearch.study.run import RunPlan, run_search


def search(config: RunConfig, *, run_dir: Path, executor: ExecutorName, ray_address: str | None) -> None:
    """Runs or resumes a search, then prints and writes its front."""
    terminal = Terminal(stderr=True)
    progress = SearchProgress(terminal, objectives=config.objectives.names)
    begun = time.monotonic()
    plan = RunPlan(
        name=config.name,
        settings=config.trial_settings,
        search=config.search,
        resources=config.resources,
        config=config.to_dict(),
        save=config.save,
        run_dir=run_dir,
        executor=executor,
        storage=config.storage,
        ray_address=ray_address,
    )
    with progress.log_to(run_dir):
        store = run_search(plan, progress)
    front = front_of(store, config.objectives.names)
    write_front(front, csv=run_dir / "front.csv", plot=run_dir / "front.png")
    print_front(front, Terminal())
    terminal.print(f"{time.monotonic() - begun:.0f} s. Everything is in {run_dir}; see also:", highlight=False)
    gain = largest_gain(front.as_searched)
    best = gain.point.record.number if gain is not None else 0
    for command in (f"dashboard {run_dir}", f"show {run_dir} {best}", f"export {run_dir} {best} exported"):
        terminal.print(f"  flexsearch {command}", highlight=False)

"""Open a run directory, to read its trials and its front."""

from pathlib import Path

from flexsearch.config import open_config
from flexsearch.errors import reading
from flexsearch.report.front import Front, front_of
from flexsearch.report.run import Run
from flexsearch.study.storage import connect, storage_url
from flexsearch.study.store import Store


def open_run(run_dir: Path) -> Run:
    """Open a run directory.

    Raises:
        UserError: it is not one.
    """
    config = open_config(run_dir)
    url = storage_url(run_dir, config.storage)
    store = Store(connect(url), study=config.name, seed=config.search.seed)
    return Run(
        folder=run_dir, name=config.name, settings=config.trial_settings, search=config.search, store=store, url=url
    )


def front_of_run(run: Run) -> Front:
    """Build the front of a run from its store.

    Raises:
        UserError: its results are not those that its configuration asks for.
    """
    with reading(run.folder, rule="holds results that do not fit its configuration"):
        return front_of(run.store, run.settings.objectives.names)

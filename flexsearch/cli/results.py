"""Open a run directory, to read its trials and its front."""

from pathlib import Path

from flexsearch.config import open_config
from flexsearch.errors import UserError, reading
from flexsearch.report.front import Front, front_of
from flexsearch.report.run import Run
from flexsearch.study.secrets import with_secrets
from flexsearch.study.storage import clear_faults, connect, storage_url
from flexsearch.study.store import Store, has_study


def open_run(run_dir: Path) -> Run:
    """Open a run directory.

    Raises:
        UserError: it is not one, or its database holds no study.
    """
    config = open_config(run_dir)
    url, name = storage_url(run_dir, with_secrets(config.storage)), config.name
    no_study = UserError(f"holds no study {name!r}", field=str(run_dir), nearest="flexsearch run")
    if config.storage is None and not (run_dir / "study.db").exists():
        raise no_study
    with clear_faults():
        engine = connect(url)
        if not has_study(engine, name):
            raise no_study
        store = Store(engine, study=name, seed=config.search.seed)
    return Run(folder=run_dir, name=name, settings=config.trial_settings, search=config.search, store=store, url=url)


def front_of_run(run: Run) -> Front:
    """Build the front of a run from its store.

    Raises:
        UserError: its results are not those that its configuration asks for.
    """
    with reading(run.folder, rule="holds results that do not fit its configuration"):
        return front_of(run.store, run.settings.objectives.names)

"""Run a whole search: check, prepare, search, measure the noise. The same call resumes and, when done, returns."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from flexsearch import __version__
from flexsearch.errors import UserError
from flexsearch.files import remove_abandoned
from flexsearch.schedule.candidate import Candidate
from flexsearch.space.domains import Value
from flexsearch.space.search_space import SearchSpace
from flexsearch.study.acquisition import Acquisition
from flexsearch.study.baselines import baselines_of, waves_of
from flexsearch.study.events import Ended, Event, Watched, Watcher
from flexsearch.study.executor import Choice, ExecutorName, Finished, TrialSource, choose_executor, run_locally
from flexsearch.study.forerunner import Forerunner
from flexsearch.study.lock import one_driver
from flexsearch.study.optuna_study import OptunaStudy
from flexsearch.study.repeats import OrderQueue, repetitions, schedules_to_repeat
from flexsearch.study.resume import check_directory, check_unchanged
from flexsearch.study.search import Search
from flexsearch.study.settings import Resources, SearchSettings
from flexsearch.study.storage import clear_faults, connect, storage_url
from flexsearch.study.store import Cost, Store
from flexsearch.tracking import Tracker, check_tracker, open_tracker
from flexsearch.trial.adoption import Adopted, share_files
from flexsearch.trial.settings import TrialSettings


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """One run: what is searched and how, where it is kept, and what runs its trials.

    Attributes:
        config: the whole resolved configuration, kept in the store and compared on resume.
        save: writes the configuration into the run directory.
        storage: SQLAlchemy URL, or None for `RUN/study.db`.
        ray_address: of a running cluster; None starts one.
        hours: after which nothing new is tried, so early that what follows fits in; None sets no limit.
        forerunner: another run, whose results are taken or whose best schedules are tried first.
    """

    name: str
    settings: TrialSettings
    search: SearchSettings
    resources: Resources
    config: Mapping[str, Any]
    save: Callable[[Path], None]
    run_dir: Path
    executor: ExecutorName = "auto"
    storage: str | None = None
    ray_address: str | None = None
    hours: float | None = None
    forerunner: Forerunner | None = None

    @property
    def learns_seeds(self) -> bool:
        """Whether the search begins with schedules that a gradient on the warm start finds."""
        return self.search.seed_from == "gradient"


class Console:
    """Show the progress of a run; the default shows nothing."""

    def message(self, text: str) -> None:
        """Print one line."""

    def preparing(self, what: str, done: int, total: int) -> None:
        """Show the progress of a shared file."""

    def searching(self, search: Search, choice: Choice) -> Watcher | None:
        """Show that the search begins; give its watcher."""
        return None

    def repeating(self, orders: OrderQueue, what: str) -> Watcher | None:
        """Show that further measurements of finished trials begin; give their watcher."""
        return None


def run_search(plan: RunPlan, console: Console) -> Store:
    """Search to the end.

    Args:
        plan: what to do.
        console: told what happens.

    Returns:
        The results.

    Raises:
        UserError: something that the user can mend, before anything is written wherever possible.
        KeyboardInterrupt: the same call goes on where this one stopped.
    """
    check_tracker(plan.search.log, field="search.log")
    deadline = math.inf if plan.hours is None else time.monotonic() + 3600 * plan.hours
    is_new = not (plan.run_dir / "config.yaml").exists()
    choice = choose_executor(plan.executor, plan.resources, address=plan.ray_address)
    if is_new:
        if plan.storage is not None:
            connect(plan.storage).dispose()
        console.message("loading base, data and extractor")
        from flexsearch.trial.inputs import load_inputs

        load_inputs(plan.settings)
        # Not for a cluster, which may have other devices than this machine.
        if choice.slots is not None:
            from flexsearch.trial.timing import check_device

            check_device(plan.settings)
        if plan.settings.objectives.latency.max_ms is not None and choice.slots is not None:
            from flexsearch.trial.timing import check_budget

            console.message("timing the schedules that should be fastest")
            check_budget(plan.settings)
    plan.run_dir.mkdir(parents=True, exist_ok=True)
    engine = connect(storage_url(plan.run_dir, plan.storage))
    with clear_faults(), one_driver(plan.run_dir, engine, plan.name) as guard:
        store = Store(engine, study=plan.name, seed=plan.search.seed)
        check_unchanged(store.config(), plan.config, is_shared=plan.storage is not None)
        optuna_study = _optuna_study(plan, store)
        guard(optuna_study.engine)
        check_directory(plan.run_dir, optuna_study, name=plan.name, is_new=is_new, is_shared=plan.storage is not None)
        search = _search(plan, store, optuna_study, deadline)
        remove_abandoned(plan.run_dir)
        plan.save(plan.run_dir)
        store.save_config(plan.config, version=__version__)
        adopted = _adopted(plan, console)
        with _executor(choice, plan, adopted) as execute:
            if search.num_finished < plan.search.trials or search.has_unfinished:
                _prepare(plan, store, console)
                if plan.settings.search_space.plans_masks or plan.learns_seeds:
                    search = _search(plan, store, optuna_study, deadline)  # with the masks and seeds
                _say_disturbance(plan, console)
                _watch(search, console.searching(search, choice))
                with closing(_tracker(plan)) as tracker:
                    search.watch(partial(_track, tracker))
                    end = execute(search)
                if end.is_failure:
                    raise UserError(f"{end.reason}; the same command goes on", field=str(plan.run_dir))
                console.message(end.reason)
            orders = _repetitions(plan, store)
            if len(orders):
                _prepare(plan, store, console)
                _watch(orders, console.repeating(orders, "measuring the noise"))
                console.message(execute(orders).reason)
        if plan.forerunner is not None and adopted is not None:
            plan.forerunner.share_timings(store, adopted)
    return store


def _adopted(plan: RunPlan, console: Console) -> Adopted | None:
    """Say what is taken from another run, and link what its trials share."""
    if plan.forerunner is None:
        return None
    folder, adopted = plan.forerunner.folder, plan.forerunner.adopted(plan.settings, seed=plan.search.seed)
    share_files(folder, plan.run_dir)
    if adopted.numbers:
        console.message(
            f"{folder} has the same protocol: its {len(adopted.numbers)} complete trials are taken as they are"
        )
    else:
        console.message(f"{folder} has another protocol: the schedules of its front are tried first")
    return adopted


def _optuna_study(plan: RunPlan, store: Store) -> OptunaStudy:
    return OptunaStudy(
        storage_url(plan.run_dir, plan.storage),
        name=plan.name,
        objectives=plan.settings.objectives.labels,
        domains=_space(plan).domains,
        settings=plan.search,
        must_exist=bool(store.digests()),
    )


def _prepare(plan: RunPlan, store: Store, console: Console) -> None:
    from flexsearch.trial.prepare import prepare

    for made in prepare(
        plan.run_dir,
        plan.settings,
        seed=plan.search.seed,
        report=console.preparing,
        learns_seeds=plan.learns_seeds,
    ):
        store.record_cost(Cost(what=made.what, seconds=made.seconds, device=made.device))
        found = "found ready, made in" if made.found else "made in"
        console.message(f"{made.what}: {found} {made.seconds:.0f} s on {made.device}")


def _say_disturbance(plan: RunPlan, console: Console) -> None:
    """Say so where other work on this machine would disturb timings; a cluster has other machines."""
    if plan.ray_address is None:
        from flexsearch.trial.timing import disturbance

        if (disturbed := disturbance(plan.settings)) is not None:
            console.message(f"note: {disturbed}")


def _acquisition(plan: RunPlan) -> Acquisition | None:
    """Build the choice among unseen candidates; None leaves it to the sampler."""
    if plan.search.pool_size == 1:
        return None
    from flexsearch.trial.profiles import load_profile

    profile, space = load_profile(plan.settings), plan.settings.search_space

    def work(candidate: Candidate) -> float:
        return space.plan(candidate).macs

    def predict_ms(candidate: Candidate) -> float | None:
        plan = space.plan(candidate)
        return None if profile is None or not profile.covers(plan) else profile.predict(plan)

    return Acquisition(
        num=plan.search.pool_size,
        work=work,
        predict_ms=predict_ms,
        objectives=plan.settings.objectives.names,
        max_ms=plan.settings.objectives.latency.max_ms,
    )


def _space(plan: RunPlan) -> SearchSpace:
    """The search space, with its masks once they are planned."""
    space = plan.settings.search_space
    if not space.plans_masks:
        return space
    from flexsearch.trial.masks import load_masks
    from flexsearch.trial.receipt import is_whole
    from flexsearch.trial.shared_files import SharedFiles

    path = SharedFiles.of(plan.run_dir, plan.settings).masks(plan.settings, seed=plan.search.seed)
    return replace(space, masks=load_masks(path)) if is_whole(path) else space


def _seeds(plan: RunPlan) -> list[Mapping[str, Value]]:
    """Parameters of the schedules that a gradient found; none before it has."""
    if not plan.learns_seeds:
        return []
    from flexsearch.trial.gradient_seeds import load_seeds
    from flexsearch.trial.receipt import is_whole
    from flexsearch.trial.shared_files import SharedFiles

    path = SharedFiles.of(plan.run_dir, plan.settings).gradient_seeds(plan.settings, seed=plan.search.seed)
    return load_seeds(path) if is_whole(path) else []


def _search(plan: RunPlan, store: Store, optuna_study: OptunaStudy, deadline: float) -> Search:
    space = _space(plan)
    return Search(
        optuna_study=optuna_study,
        store=store,
        space=space,
        baselines=baselines_of(space, plan.search),
        settings=plan.search,
        run_dir=plan.run_dir,
        objectives=plan.settings.objectives.names,
        acquisition=_acquisition(plan),
        waves=waves_of(space, plan.search),
        keep=1.0 if plan.settings.early_stopping is None else plan.settings.early_stopping.keep,
        deadline=deadline,
        first=() if plan.forerunner is None else plan.forerunner.first(space, plan.settings, seed=plan.search.seed),
        seeds=_seeds(plan),
    )


@contextmanager
def _executor(choice: Choice, plan: RunPlan, adopted: Adopted | None) -> Iterator[Callable[[TrialSource], Finished]]:
    """Give a function that runs a source to its end; Ray, if it is used, starts with the first and serves all."""
    with ExitStack() as stack:

        def execute(source: TrialSource) -> Finished:
            from flexsearch.trial.life import run_trial as run

            run_trial = run if adopted is None else adopted.before(run)
            if choice.name == "local":
                return run_locally(source, run_trial)
            from flexsearch.study.ray_tune import ray_session, run_on_ray

            stack.enter_context(ray_session(plan.ray_address))
            return run_on_ray(source, run_trial, resources=plan.resources, slots=choice.slots, address=plan.ray_address)

        yield execute


def _tracker(plan: RunPlan) -> Tracker:
    about = {"base": plan.settings.base.checkpoint, "seed": str(plan.search.seed)}
    return open_tracker(plan.search.log, folder=plan.run_dir / "logs", title=plan.name, about=about)


def _track(tracker: Tracker, event: Event) -> None:
    """Send what a trial measured."""
    if isinstance(event, Ended) and event.result is not None:
        tracker.log({name: one.value for name, one in event.result.measurements.items()}, step=event.number)


def _watch(source: Watched, watcher: Watcher | None) -> None:
    if watcher is not None:
        source.watch(watcher)


def _repetitions(plan: RunPlan, store: Store) -> OrderQueue:
    """Order what is still to be measured for the noise, once per study."""
    objective = plan.settings.objectives.names[0]
    num, known, records = plan.search.noise_schedules, store.repetitions(objective), store.trials()
    if num < 2:
        chosen = []
    elif len(known) >= num:  # chosen before; an interruption may have left seeds to do
        chosen = [record for record in records if record.number in known]
    else:
        chosen = schedules_to_repeat(records, objective=objective, num=num)
    seeds = [plan.search.seed + 1 + index for index in range(plan.search.noise_seeds)]
    return repetitions(store, chosen, seeds=seeds, run_dir=plan.run_dir, objective=objective)

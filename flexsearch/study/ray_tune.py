"""Run trials on Ray Tune, which owns resources, workers and machines; `Search` keeps what to run and all results.

The only file that imports ray. Ray's own Optuna searcher and `Tuner.restore` are not used: a resumed search is a fresh
`Tuner` on the same study. Nothing that Ray stores is read back.
"""

import ctypes
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from functools import partial
from typing import Any

from filelock import FileLock

from flexsearch.errors import FlexsearchError, UserError, reading
from flexsearch.study.executor import Finished, TrialSource, Wait, crash
from flexsearch.study.ray_address import QUIET, cluster_address
from flexsearch.study.ray_folder import ray_folder
from flexsearch.study.secrets import VARIABLE
from flexsearch.study.settings import Resources
from flexsearch.trial.contract import Progress, RunTrial, TrialOrder, TrialResult

_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Lets Ray listen on 127.0.0.1 alone, where nobody else is to join it; on Linux, too."""

_AUTH = "RAY_AUTH_MODE"

_LOOK_EVERY_S = 5.0
_ANSWERS_WITHIN_S = 5.0
_REPORT_EVERY_S = 1.0
_NEWS = "news"


def _trainable(config: dict[str, Any], *, run_trial: RunTrial, num_threads: int) -> None:
    """Run in a worker. Every end is reported as data; only the worker's death is an error to Ray."""
    import torch
    from ray import tune

    torch.set_num_threads(num_threads)
    order = TrialOrder.from_dict(config["order"])
    last = 0.0

    def report(progress: Progress) -> bool:
        nonlocal last
        if progress.so_far is not None or time.monotonic() - last >= _REPORT_EVERY_S:
            last = time.monotonic()
            tune.report(_news(progress=progress.to_dict()))
        return True  # whoever is stopped at a rung never returns from its report

    try:
        order.trial_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(order.trial_dir / "lock"):  # of another worker, perhaps one that outlived its driver
            result = run_trial(order, report)
    except UserError as error:
        tune.report(_news(user_error=[error.message, error.field]))
    except Exception as error:
        try:
            tune.report(_news(crash=crash(order, error)))
        except UserError as fault:
            tune.report(_news(user_error=[fault.message, fault.field]))
    else:
        tune.report(_news(result=result.to_dict()))


def _news(**content: Any) -> dict[str, str]:
    """Pack a report of a worker into one JSON text, because Ray takes nested dictionaries apart."""
    return {_NEWS: json.dumps(content)}


def _read(result: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(result.get(_NEWS, "{}"))
    return content


def _progress(result: dict[str, Any]) -> Progress | None:
    news = _read(result)
    return Progress.from_dict(news["progress"]) if "progress" in news else None


def _nothing() -> None:
    """Stand for our searcher when Tune restores it: a search is resumed from the study."""


def _searcher(search: TrialSource) -> Any:
    """Build a Ray `Searcher` that hands everything to `search`."""
    from ray.tune.search import Searcher

    class StudySearcher(Searcher):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(metric="training_iteration", mode="max")
            self.numbers: dict[str, int] = {}
            self.end = Finished("Ray stopped")
            self.error: UserError | None = None

        def suggest(self, trial_id: str) -> Any:
            order = Finished("stopped") if self.error is not None else search.next()
            if isinstance(order, Wait):
                return None
            if isinstance(order, Finished):
                self.end = order
                return Searcher.FINISHED
            self.numbers[trial_id] = order.number
            return {"order": order.to_dict()}

        def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
            progress = _progress(result)
            if progress is not None and progress.so_far is None:
                search.progressed(self.numbers[trial_id], progress)

        def goes_on(self, trial_id: str, result: dict[str, Any]) -> bool:
            """Answer the scheduler, which Tune hears before it tells us of the result."""
            progress = _progress(result)
            if progress is None or progress.so_far is None:
                return True
            return search.progressed(self.numbers[trial_id], progress)

        def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
            number, news = self.numbers.pop(trial_id), _read(result or {})
            if "user_error" in news:
                message, field = news["user_error"]
                self.error = UserError(message, field=field)
                search.interrupted(number)
            elif "crash" in news:
                search.crashed(number, news["crash"])
            elif "result" in news and not error:
                search.finished(number, TrialResult.from_dict(news["result"]))
            elif (progress := _progress(result or {})) is not None and progress.so_far is not None and not error:
                search.finished(number, progress.so_far)
            else:
                search.interrupted(number)

        def __reduce__(self) -> Any:
            return _nothing, ()  # Tune stores its searcher

        def __deepcopy__(self, _: Any) -> Any:
            return self

        def save(self, checkpoint_path: str) -> None:
            """Save nothing: a search is resumed from the study."""

        def restore(self, checkpoint_path: str) -> None:
            raise FlexsearchError("a search is resumed by running the same command again")

    return StudySearcher()


def _scheduler(searcher: Any) -> Any:
    """Build a Ray scheduler that stops the trials that the search does not let go on from a rung."""
    from ray.tune.schedulers import FIFOScheduler, TrialScheduler

    class RungScheduler(FIFOScheduler):  # type: ignore[misc]
        def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
            goes_on = searcher.goes_on(trial.trial_id, result)
            return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

        def __reduce__(self) -> Any:
            return _nothing, ()

    return RungScheduler()


@contextmanager
def _without_secrets() -> Iterator[None]:
    """Start processes without the variable that may hold a database's password."""
    secret = os.environ.pop(VARIABLE, None)
    try:
        yield
    finally:
        if secret is not None:
            os.environ[VARIABLE] = secret


@contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """Start Ray on this machine alone, or use one that the caller started and leave it running.

    Ray reads its environment when it is imported: what guards a Ray of our own cannot be set later.

    Raises:
        UserError: it cannot be started or reached.
    """
    cluster = cluster_address(address)
    is_late = "ray" in sys.modules and not {*_ALONE, _AUTH} <= os.environ.keys()
    os.environ.update(QUIET | (_ALONE if cluster is None else {}))
    if not is_late:
        os.environ.setdefault(_AUTH, "token")
    import ray

    if ray.is_initialized():
        yield
        return
    if is_late and cluster is None:
        raise UserError(
            "was imported before flexsearch could have it listen on this machine alone; import it later, or start it "
            "yourself (ray.init())",
            field="ray",
        )
    with ray_folder() as folder:
        options: dict[str, Any] = {"_temp_dir": str(folder)} if cluster is None else {"address": cluster}
        try:
            with reading("--ray-address", rule="Ray could not be reached or started"), _without_secrets():
                ray.init(log_to_driver=False, logging_level="ERROR", include_dashboard=False, **options)
            yield
        finally:
            ray.shutdown()


@contextmanager
def _muted() -> Iterator[None]:
    """Keep what Ray logs and prints of workers and nodes that are lost to ourselves: their trials are started again.

    It prints on the standard output, from a thread of its own; nobody else does while trials run.
    """
    loggers = [logging.getLogger(name) for name in ("ray.tune", "ray.air")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _is_there(living: Callable[[], bool]) -> bool:
    """Ask whether Ray says that a node lives; where its own head is gone, it raises, or says nothing for a minute."""
    said: list[bool] = []

    def ask() -> None:
        with suppress(Exception):
            said.append(living())

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_ANSWERS_WITHIN_S)
    return said == [True]


@contextmanager
def _watched_nodes(living: Callable[[], bool]) -> Iterator[None]:
    """End the block, which would wait for ever, where no node is left that could run a trial.

    It is interrupted as Ctrl-C does, by an exception of its thread: a signal would not do where a shell has the
    programs that it starts in the background ignore interrupts.

    Args:
        living: tells whether there is one.

    Raises:
        UserError: there was none, twice in a row, or none when the block failed.
    """
    over, lost, waiting = threading.Event(), threading.Event(), threading.get_ident()

    def watch() -> None:
        missed = 0
        while not over.wait(_LOOK_EVERY_S):
            missed = 0 if _is_there(living) else missed + 1
            if missed == 2:
                lost.set()
                interrupt = ctypes.py_object(KeyboardInterrupt)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(waiting), interrupt)
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except BaseException as error:
        is_rays = isinstance(error, Exception) and not isinstance(error, UserError)
        if lost.is_set() or (is_rays and not _is_there(living)):
            raise UserError(
                "no node of Ray's that could run a trial is alive any more; nothing is lost, the same command goes on",
                field="Ray",
            ) from None
        raise
    finally:
        over.set()


def _num_fitting(resources: Resources) -> int:
    """Count the trials that fit at once on the nodes that live: a trial takes all of its resources from one."""
    import ray

    needs = {name: need for name, need in (("CPU", resources.cpu), ("GPU", resources.gpu)) if need}
    living = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(min(int(has.get(name, 0) // need) for name, need in needs.items()) for has in living)


def run_on_ray(
    search: TrialSource, run_trial: RunTrial, *, resources: Resources, slots: int | None, address: str | None = None
) -> Finished:
    """Run trials until the search is finished; return why it is.

    Args:
        search: hands out trials; stays in this process.
        run_trial: an importable function.
        resources: of one trial.
        slots: trials at once; None takes as many as fit.
        address: of a running Ray cluster; None starts one on this machine.

    Raises:
        UserError: Ray cannot be reached or has no living node for a trial any more, or a trial met something that the
            user can mend.
    """
    with ray_session(address), ray_folder() as junk:
        from ray import tune

        fitting = _num_fitting(resources)
        if not fitting:
            raise UserError(f"one trial needs {resources}, more than a node of Ray's has", field="resources")
        searcher = _searcher(search)
        body = partial(_trainable, run_trial=run_trial, num_threads=max(1, int(resources.cpu)))
        tuner = tune.Tuner(
            tune.with_resources(body, {"cpu": resources.cpu, "gpu": resources.gpu}),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=_scheduler(searcher),
                num_samples=-1,
                max_concurrent_trials=fitting if slots is None else min(slots, fitting),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=str(junk), name="trials", verbose=0),
        )
        with _muted(), _watched_nodes(lambda: _num_fitting(resources) > 0):
            tuner.fit()
        if searcher.error is not None:
            raise searcher.error
        end: Finished = searcher.end
        return end

"""Trials one after the other, in this process: for one device, for debugging, and where Ray is not installed."""

import traceback

from flexsearch.errors import UserError
from flexsearch.files import write_atomically
from flexsearch.study.source import Finished, TrialSource, Wait
from flexsearch.trial.contract import RunTrial


def run_locally(search: TrialSource, run_trial: RunTrial) -> str:
    """Runs trials until the search is finished; returns why it is.

    An error in a trial fails that trial and is written to its `error.log`. What the user can mend, and an interrupt,
    end the search; the trial then counts as running and is adopted on resume.
    """
    while True:
        order = search.next()
        if isinstance(order, Finished):
            return order.reason
        assert not isinstance(order, Wait), "in one process nothing runs between two trials"
        number = order.number
        try:
            result = run_trial(order, lambda progress, number=number: search.progressed(number, progress))  # type: ignore[misc]
        except (UserError, KeyboardInterrupt):
            raise
        except Exception as error:
            log = order.trial_dir / "error.log"
            write_atomically(log, traceback.format_exc())
            search.crashed(number, f"{type(error).__name__}: {error} (see {log})")
        else:
            search.finished(number, result)

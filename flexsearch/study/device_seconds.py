"""Device seconds that a candidate will take, told from the trials so far.

The first trial of a schedule fine-tunes it; what samples it in another way later takes its weights, and costs samples
and their timing alone.
"""

import statistics
from collections.abc import Callable, Sequence

import numpy as np

from flexsearch.schedule.candidate import Candidate
from flexsearch.study.known import MOST_KNOWN
from flexsearch.study.store import TrialRecord

_TRAINING = ("fine-tune", "rung")


def trained_schedules(records: Sequence[TrialRecord]) -> dict[str, TrialRecord]:
    """Give the trial that fine-tuned each schedule to the end, by the schedule's digest. The dense base needs none."""
    found: dict[str, TrialRecord] = {}
    for record in records:
        schedule = record.candidate.schedule
        if record.state == "complete" and not schedule.is_dense and schedule.digest not in found and _training(record):
            found[schedule.digest] = record
    return found


class DeviceSeconds:
    """Predict the device seconds of candidates.

    Those of samples, their timing and their scores are a constant plus a share in proportion to the MACs of an image,
    fitted to the latest `MOST_KNOWN` complete trials by relative error; those of a fine-tune are the median so far.

    Args:
        records: the trials so far.
        work: MACs of one image of a candidate, all sampler steps.
    """

    def __init__(self, records: Sequence[TrialRecord], *, work: Callable[[Candidate], float]) -> None:
        from scipy.optimize import nnls  # half a second, which `flexsearch plan` need not wait for

        self._work = work
        self._trained = trained_schedules(records)
        self._training = statistics.median(map(_training, self._trained.values())) if self._trained else 0.0
        complete = [record for record in records if record.state == "complete"][-MOST_KNOWN:]
        known = [(work(one.candidate), seconds) for one in complete if (seconds := _sampling(one)) > 0]
        self._is_known = bool(known)
        if known:
            macs, seconds = np.array(known).T
            self._scale = macs.mean()
            rows = np.stack([np.ones(len(macs)), macs / self._scale], axis=1) / seconds[:, None]
            self._fit, _ = nnls(rows, np.ones(len(macs)))

    def of(self, candidate: Candidate) -> float:
        """Give the seconds; 1 where no trial says what it took."""
        if not self._is_known:
            return 1.0
        schedule = candidate.schedule
        is_ready = schedule.is_dense or schedule.digest in self._trained
        sampling = float(self._fit @ (1.0, self._work(candidate) / self._scale))
        return sampling + (0.0 if is_ready else self._training)


def _training(record: TrialRecord) -> float:
    return sum(record.seconds.get(phase, 0.0) for phase in _TRAINING)


def _sampling(record: TrialRecord) -> float:
    return sum(seconds for phase, seconds in record.seconds.items() if phase not in _TRAINING)

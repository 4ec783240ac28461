"""One clock over all phases of a run: shared files, baselines, the search, and what is measured again.

What a phase takes is weighed by the plan before any of it has ended: MACs of updates, images and sampler steps.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterable

from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.sampling import Sampling
from flexsearch.study.repeats import OrderQueue
from flexsearch.study.search import Search
from flexsearch.study.settings import SearchSettings
from flexsearch.study.store import TrialRecord
from flexsearch.study.time_left import TimeLeft
from flexsearch.trial.contract import TrialOrder
from flexsearch.trial.settings import TrialSettings

_BACKWARD = 3  # forward and backward pass over a forward pass
_DRAWN = 16  # candidates that stand for those of the search
_TRAINING = ("fine-tune", "rung")
_SEARCHED, _BASELINE, _REPEAT = "trial", "baseline", "repeat"


class RunClock:
    """Keep account of what a run has still to do.

    Args:
        settings: of its trials.
        search: how many trials, and how many are repeated.
        now: a clock, in seconds.
    """

    def __init__(
        self, settings: TrialSettings, search: SearchSettings, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.left = TimeLeft(now)
        self._settings = settings
        self._search_settings = search
        self._search: Search | None = None
        self._queue: OrderQueue | None = None
        self._images = settings.objectives.quality.images
        self._is_confirmed = False
        self._preparing: str | None = None
        self._shared_done: set[str] = set()
        self._running: dict[int, TrialOrder] = {}
        space, generator = settings.search_space, random.Random(search.seed)
        drawn = [space.build(space.sample(generator)) for _ in range(_DRAWN)]
        self._typical = sum(map(self._training, drawn)) / _DRAWN, sum(map(self._sampling, drawn)) / _DRAWN
        self._expect()

    def preparing(self, what: str, done: int, total: int) -> None:
        """Take the progress of a shared file."""
        if what != self._preparing:
            self._prepared()
            self._preparing = what
            self._shared_done.add(what)
            self.left.begin(what, what, self._shared().get(what, self._typical[1]))
            self._expect()
        self.left.advance(what, done / total)

    def searching(self, search: Search, *, slots: int) -> None:
        """Take the beginning of the search."""
        self._prepared()
        self._search, self.left.slots = search, slots
        self._expect()

    def repeating(self, orders: OrderQueue, *, images: int | None = None) -> None:
        """Take the beginning of what is measured again: as trials are, or, with a number of images, the models that
        they left."""
        self._prepared()
        self._search, self._queue = None, orders
        self._images, self._is_confirmed = images or self._images, images is not None
        self._expect()

    def learn(self, records: Iterable[TrialRecord]) -> None:
        """Take what trials took, as what measuring them again takes; until the first was measured."""
        images = self._settings.objectives.quality.images
        rates = [
            seconds / self._sampling(record.candidate, images=images)
            for record in records
            if (seconds := sum(value for phase, value in record.seconds.items() if phase not in _TRAINING)) > 0
        ]
        if rates:
            self.left.tell(_REPEAT, sorted(rates)[len(rates) // 2])

    def started(self, order: TrialOrder) -> None:
        """Take the beginning of a trial."""
        self._running[order.number] = order
        self.left.slots = max(self.left.slots, len(self._running))  # nobody knows how many a cluster takes
        self.left.begin(order.number, *self._job(order))
        self._expect()

    def ended(self, number: int, *, counts: bool) -> None:
        """Take its end."""
        self._running.pop(number, None)
        self.left.end(number, counts=counts)
        self._expect()

    def _prepared(self) -> None:
        if self._preparing is not None:
            self.left.end(self._preparing)
            self._preparing = None

    def _job(self, order: TrialOrder) -> tuple[str, float]:
        if order.kind == "repeat":
            trained = 0.0 if self._is_confirmed else self._training(order.candidate)
            return _REPEAT, self._sampling(order.candidate) + trained
        if order.baseline is not None:
            return _BASELINE, self._sampling(order.candidate) + self._training(order.candidate)
        return _SEARCHED, sum(self._typical)

    def _expect(self) -> None:
        """Tell what is not begun."""
        if self._queue is not None:
            self.left.expect({_REPEAT: [self._job(order)[1] for order in self._queue.waiting]})
            return
        wanted, repeated = self._search_settings.trials, self._search_settings.noise_schedules
        num_repeats = repeated * self._search_settings.noise_seeds if repeated > 1 else 0
        works = {_REPEAT: [sum(self._typical)] * num_repeats}
        if self._search is None:
            works |= {what: [work] for what, work in self._shared().items() if what not in self._shared_done}
            works[_SEARCHED] = [sum(self._typical)] * wanted
        else:
            missing = self._search.missing_baselines
            works[_BASELINE] = [self._sampling(one) + self._training(one) for one in missing]
            num = wanted - self._search.num_finished - len(self._running) - len(missing)
            works[_SEARCHED] = [sum(self._typical)] * max(0, num)
        self.left.expect(works)

    def _shared(self) -> dict[str, float]:
        """The work of the shared files that take long; a warm start waits only where it is being made."""
        settings = self._settings
        if settings.is_free:
            return {}
        space = settings.search_space
        dense = space.plan(Candidate(schedule=DensitySchedule.all_dense(space.num_blocks), sampling=Sampling(steps=1)))
        forward = dense.macs / dense.target.rows
        works = {}
        if (warm := settings.warm_start) is not None and self._preparing == "warm start":
            works["warm start"] = warm.updates * warm.batch * _BACKWARD * forward  # schedules are sparser, and taught
        if settings.needs_teacher_outputs:
            works["teacher"] = settings.trial.updates * settings.trial.batch * forward
        if settings.teacher_samples is not None:
            drawn = space.plan(Candidate(schedule=dense.candidate.schedule, sampling=settings.teacher_sampling))
            works["teacher"] = settings.teacher_samples.images * drawn.macs
        return works

    def _training(self, candidate: Candidate) -> float:
        """MACs of a fine-tune: every update computes a batch, on one row."""
        optimisation = self._settings.trial
        if candidate.schedule.is_dense:
            return 0.0
        plan = self._settings.search_space.plan(candidate)
        forward = plan.macs / len(plan.steps) / plan.target.rows
        if (taught := self._settings.teacher_samples) is not None:
            forward *= statistics.mean(taught.steps) * plan.target.rows
        return _BACKWARD * optimisation.updates * optimisation.batch * forward

    def _sampling(self, candidate: Candidate, *, images: int | None = None) -> float:
        """MACs of samples and of their timing."""
        latency = self._settings.objectives.latency
        timed = 2 * latency.repeats * latency.batch  # beside the dense base
        return self._settings.search_space.plan(candidate).macs * ((images or self._images) + timed)

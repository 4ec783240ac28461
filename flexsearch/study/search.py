"""Bookkeeping of a search: what runs next, and what became of it. Executors run the trials; they know nothing else.

One driver process owns the `Search`; only it writes, through the `Ledger`. Resume is a new `Search` on the same study:
all that it goes by follows from the ledger, so that it decides what the one that died would have decided.
"""

import math
import statistics
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import numpy as np

from flexsearch.latency.linearity import disagreement, warning
from flexsearch.paths import as_word
from flexsearch.schedule.candidate import Candidate
from flexsearch.space.domains import Value
from flexsearch.space.search_space import SearchSpace
from flexsearch.study.acquisition import SAMPLER_EVERY, Acquisition
from flexsearch.study.baselines import Baseline, Wave, dense_latencies, is_fine_tuned, is_kept
from flexsearch.study.device_seconds import trained_schedules
from flexsearch.study.early_stopping import goes_on
from flexsearch.study.events import Ended, Moved, Noted, Started, Watched
from flexsearch.study.executor import Finished, Wait
from flexsearch.study.ledger import Entry, Ledger
from flexsearch.study.optuna_study import OptunaStudy
from flexsearch.study.pool import Pool
from flexsearch.study.seed_trials import seed_trials
from flexsearch.study.settings import SearchSettings
from flexsearch.study.store import Store, TrialRecord
from flexsearch.trial.contract import Progress, TrialOrder, TrialResult
from flexsearch.trial.result_file import lost_seconds, read_result

DUPLICATES_BEFORE_DRAWING = 3
INFEASIBLE_IN_A_ROW = 40
FAILURES_IN_A_ROW = 3


class Search(Watched):
    """Decide which trial is next, and record what became of it.

    Args:
        optuna_study: proposes.
        store: keeps the results.
        space: gives candidates for parameters.
        baselines: evaluated first, in this order.
        settings: how many trials, retries, seed.
        run_dir: where trials leave their files.
        objectives: names of the measurements that are told, in the study's order: quality first.
        keep: share of the trials at a rung that goes on.
        acquisition: chooses among unseen candidates; None leaves the choice to the sampler.
        waves: further baselines, each once all before it have ended, and all before anything is searched.
        first: parameters that are tried before anything else is searched.
        seeds: parameters of schedules that are tried after these, densest first; each draws as a free baseline does.
        deadline: of `time.monotonic`; nothing new is tried where it and the noise would end later.
    """

    def __init__(
        self,
        *,
        optuna_study: OptunaStudy,
        store: Store,
        space: SearchSpace,
        baselines: Sequence[Baseline],
        settings: SearchSettings,
        run_dir: Path,
        objectives: Sequence[str],
        keep: float = 1.0,
        acquisition: Acquisition | None = None,
        waves: Sequence[Wave] = (),
        first: Sequence[Mapping[str, Value]] = (),
        seeds: Sequence[Mapping[str, Value]] = (),
        deadline: float = math.inf,
    ) -> None:
        super().__init__()
        self._ledger = Ledger(
            optuna_study=optuna_study, store=store, space=space, objectives=objectives, run_dir=run_dir
        )
        self._optuna_study = optuna_study
        self._store = store
        self._space = space
        self._pool = Pool(space=space, seed=settings.seed)
        self._baselines = {baseline.name: baseline for baseline in baselines}
        self._settings = settings
        self._run_dir = run_dir
        self._objectives = tuple(objectives)
        self._acquisition = acquisition
        self._live: dict[int, TrialOrder] = {}
        self._lost_workers = Counter[int]()
        self._keep = keep
        self._on_the_way: dict[int, TrialResult] = {}
        self._orphans = deque(self._ledger.unfinished)
        records = store.trials()
        searched = [record.state for record in reversed(records) if record.baseline is None]
        self._counted = {record.number for record in records if record.state in ("complete", "pruned")}
        self._seen = {record.digest: record.number for record in reversed(records)}  # the first trial of each
        latest = {record.baseline: record for record in records}
        self._begun = {name for name, record in latest.items() if record.state != "failed"}
        self._begun |= {entry.baseline for entry in self._orphans}
        self._missing = deque(name for name in self._baselines if name not in self._begun)
        self._duplicates = _num_in_a_row(searched, "duplicate")
        self._infeasible = _num_in_a_row(searched, "infeasible")
        self._failures: list[str] = []
        self._deadline = deadline
        self._first = deque(first)
        self._seeds = tuple(seeds)
        self._waves = deque(waves)
        self._has_checked_latencies = False
        self._open_waves()

    @property
    def num_finished(self) -> int:
        """Trials that count towards `settings.trials`."""
        return len(self._counted)

    @property
    def has_unfinished(self) -> bool:
        """Whether baselines or interrupted trials are still to be run."""
        return bool(self._missing or self._orphans)

    @property
    def missing_baselines(self) -> list[Candidate]:
        """The baselines that are known and not begun."""
        return [self._baselines[name].candidate for name in self._missing]

    @property
    def num_wanted(self) -> int:
        """Trials after which the search ends."""
        return self._settings.trials

    @property
    def records(self) -> list[TrialRecord]:
        """All trials so far."""
        return self._store.trials()

    def next(self) -> TrialOrder | Wait | Finished:
        """Give the next trial to run; it counts as running until `finished` or `crashed`."""
        while self._orphans:
            order = self._judge(self._orphans.popleft())
            if order is not None:
                return self._start(order)
        stopped = self._stopped()
        if stopped is not None:
            return Wait() if self._live else stopped
        self._open_waves()
        if self._missing:
            name = self._missing.popleft()
            return self._start(self._order(self._ledger.ask_baseline(name, self._baselines[name].candidate)))
        if self._waves and self._live:
            return Wait()
        if self.num_finished + len(self._live) >= self._settings.trials:
            return Wait() if self._live else Finished(f"{self.num_finished} trials are finished")
        self._check_latencies()
        order = self._propose()
        if order is None:
            return Wait() if self._live else Finished("every schedule of the space has been evaluated")
        return self._start(order)

    def progressed(self, number: int, progress: Progress) -> bool:
        """Take where a running trial is; at a rung, False ends it. Baselines always go on."""
        self.announce(Moved(number=number, progress=progress))
        if progress.so_far is None:
            return True
        self._on_the_way[number] = progress.so_far
        return self._live[number].baseline is not None or self._goes_on(number, progress.so_far.rungs[-1].updates)

    def finished(self, number: int, result: TrialResult) -> None:
        """Record a result and tell Optuna."""
        result = result.if_finite()
        self._forget(number)
        self._ledger.end(number, result)
        if result.state in ("complete", "pruned"):
            self._counted.add(number)
        if result.state == "failed":
            self._failures.append(result.reason or "")
        else:
            self._failures.clear()
            self._infeasible = self._infeasible + 1 if result.state == "infeasible" else 0
        self.announce(Ended(number=number, state=result.state, result=result, reason=result.reason))

    def crashed(self, number: int, reason: str) -> None:
        """Record that a trial ended in an error."""
        order = self._live[number]
        self.finished(number, TrialResult(state="failed", reason=reason, lost_seconds=lost_seconds(order)))

    def interrupted(self, number: int) -> None:
        """Start a trial that lost its worker again, or fail it after too many lost ones."""
        order = self._forget(number)
        self._lost_workers[number] += 1
        self._orphans.append(Entry(number=number, candidate=order.candidate, baseline=order.baseline, is_noted=True))

    def _stopped(self) -> Finished | None:
        """Say why nothing new is tried, if that is so."""
        if len(self._failures) >= FAILURES_IN_A_ROW:
            reason = f"{len(self._failures)} trials in a row failed, the last with: {self._failures[-1]}"
            return Finished(reason, is_failure=True)
        if self._infeasible >= INFEASIBLE_IN_A_ROW:
            measured = [record.measurements for record in self._store.trials() if record.baseline is None]
            found = [row.get("latency_ms") or row.get("predicted_latency_ms") for row in measured]
            least = min(latency.value for latency in found if latency is not None)
            return Finished(
                f"{self._infeasible} schedules in a row broke a limit; the fastest took {least:.3g} ms/image"
            )
        if self._deadline < math.inf and time.monotonic() + self._seconds_to_end() > self._deadline:
            done = f"{self.num_finished} of {self.num_wanted} trials"
            return Finished(f"the time is up after {done}; the same command goes on where this one stopped")
        return None

    def _seconds_to_end(self) -> float:
        """Estimate what one more trial and the noise take, one after the other, from the trials so far."""
        spent = [sum(one.seconds.values()) for one in self._store.trials() if one.state == "complete"]
        repeats = (
            self._settings.noise_schedules * self._settings.noise_seeds if self._settings.noise_schedules > 1 else 0
        )
        return max(spent) + repeats * statistics.median(spent) if spent else 0.0

    def _goes_on(self, number: int, rung: int) -> bool:
        """Compare a trial with all that have reached the rung, those that are running among them."""
        points: dict[int, tuple[float, ...]] = {}
        for record in self._store.trials():
            known = self._on_the_way.get(record.number, record)
            reached = next((one for one in known.rungs if one.updates == rung), None)
            if reached is not None:
                others = (known.measurements[name].value for name in self._objectives[1:])
                points[record.number] = (reached.quality, *others)
        return goes_on(np.array(list(points.values())), list(points).index(number), keep=self._keep)

    def _start(self, order: TrialOrder) -> TrialOrder:
        self._ledger.note(order.number, order.candidate, baseline=order.baseline)
        self._live[order.number] = order
        self._seen.setdefault(order.candidate.digest, order.number)
        self.announce(Started(order=order))
        return order

    def _forget(self, number: int) -> TrialOrder:
        """Remove a trial from those that run."""
        self._on_the_way.pop(number, None)
        return self._live.pop(number)

    def _judge(self, entry: Entry) -> TrialOrder | None:
        """Give the order for a trial that is asked; None if it is a duplicate, or has left its result."""
        order = self._order(entry)
        if entry.baseline is None and self._seen.get(entry.candidate.digest, entry.number) != entry.number:
            self._duplicates += 1
            self._ledger.put_away(entry)
            return None
        result = read_result(order) if entry.is_noted else None
        num_lost = self._lost_workers[entry.number]
        if result is None and num_lost > self._settings.max_retries:
            result = TrialResult(
                state="failed", reason=f"was interrupted {num_lost} times", lost_seconds=lost_seconds(order)
            )
        if result is None:
            self._duplicates = 0 if entry.baseline is None else self._duplicates
            return order
        self._live[entry.number] = order
        self.finished(entry.number, result)
        return None

    def _open_waves(self) -> None:
        """Add the baselines of every wave whose forerunners have all ended; a search that resumes adds the same."""
        while self._waves and not self._missing:
            latest = {record.baseline: record for record in self._store.trials()}
            if any(name not in latest or latest[name].state == "running" for name in self._baselines):
                return
            complete = [one for name in self._baselines if (one := latest[name]).state == "complete"]
            results = {
                record.digest: record.measurements[self._objectives[0]].value
                for record in complete
                if not is_fine_tuned(record.baseline)
            }
            known = {_does(baseline) for baseline in self._baselines.values()}
            for baseline in self._waves.popleft()(results):
                if _does(baseline) not in known:
                    known.add(_does(baseline))
                    self._baselines[baseline.name] = baseline
                    self._missing.extend({baseline.name} - self._begun)

    def _check_latencies(self) -> None:
        """Once the baselines are there, tell whether the machine was quiet."""
        if self._has_checked_latencies:
            return
        self._has_checked_latencies = True
        found = disagreement(dense_latencies(self._store.trials(), latency=self._objectives[-1]))
        if found is not None:
            self.announce(Noted(text=warning(found, as_word(self._run_dir))))

    def _order(self, entry: Entry) -> TrialOrder:
        return TrialOrder(
            number=entry.number,
            candidate=entry.candidate,
            run_dir=self._run_dir,
            seed=self._settings.seed,
            study=self._optuna_study.identity,
            baseline=entry.baseline,
            fine_tune=is_kept(entry.baseline, entry.candidate),
        )

    def _propose(self) -> TrialOrder | None:
        """Propose an unseen candidate: what is to be tried first, then the acquisition's choice, if there is one, and
        the sampler's by turns."""
        records = self._store.trials()
        if not self._first and self._seeds:
            self._first.extend(seed_trials(self._seeds, self._space, records, objectives=self._objectives))
            self._seeds = ()
        while self._first:
            parameters = self._first.popleft()
            if self._space.build(parameters).digest not in self._seen:
                return self._judge(self._ledger.ask(parameters))
        acquisition = self._acquisition
        proposed = sum(record.baseline is None and record.state in ("complete", "pruned") for record in records)
        asks_sampler = len(self._seen) % SAMPLER_EVERY == 0
        if (
            acquisition is None
            or asks_sampler
            or proposed < self._settings.startup
            or not acquisition.is_ready(records)
        ):
            return self._propose_one()
        unseen = self._pool.draw(acquisition.num, seen=self._seen, trained=self._trained(records))
        if not unseen:
            return None
        built = [self._space.build(parameters) for parameters in unseen]
        return self._judge(self._ledger.ask(unseen[acquisition.best(built, records)])) or self._propose_one()

    def _trained(self, records: Sequence[TrialRecord]) -> list[Mapping[str, Value]]:
        """Give the parameters of every searched schedule that is fine-tuned."""
        searched = [record for record in trained_schedules(records).values() if record.baseline is None]
        parameters = self._optuna_study.parameters() if searched else []
        return [parameters[record.number] for record in searched]

    def _propose_one(self) -> TrialOrder | None:
        """Take the sampler's proposal, or after many duplicates a candidate drawn at random."""
        while True:
            drawing = self._duplicates >= DUPLICATES_BEFORE_DRAWING
            drawn = self._pool.draw_one(seen=self._seen) if drawing else None
            if drawing and drawn is None:
                return None
            order = self._judge(self._ledger.ask(drawn))
            if order is not None:
                return order


def _does(baseline: Baseline) -> tuple[str, bool]:
    """Give what a baseline does, whatever its name is."""
    return baseline.candidate.digest, is_fine_tuned(baseline.name)


def _num_in_a_row(states: Sequence[str], state: str) -> int:
    """Count how many of the first states are `state`."""
    return sum(1 for _ in takewhile(lambda one: one == state, states))

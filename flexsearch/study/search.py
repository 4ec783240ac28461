"""Bookkeeping of a search: what runs next, and what became of it. Executors run the trials; they know nothing else.

One driver process owns the `Search`; only it writes. Resume is a new `Search` on the same study: it finds the trials
that were running when the last driver died, tells those that left a result, and starts the others again.
"""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from flexsearch.schedule.candidate import Candidate
from flexsearch.space.domains import Value
from flexsearch.space.search_space import SearchSpace
from flexsearch.study.acquisition import SAMPLER_EVERY, Acquisition
from flexsearch.study.baselines import Baseline, Wave
from flexsearch.study.device_seconds import trained_schedules
from flexsearch.study.early_stopping import goes_on
from flexsearch.study.events import Ended, Moved, Started, Watched
from flexsearch.study.executor import Finished, Wait
from flexsearch.study.optuna_study import ARTIFACTS, OptunaStudy
from flexsearch.study.pool import Pool
from flexsearch.study.predicted_distance import scores
from flexsearch.study.settings import SearchSettings
from flexsearch.study.store import Store, TrialRecord
from flexsearch.trial.contract import Progress, TrialOrder, TrialResult

DUPLICATES_BEFORE_DRAWING = 10
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
    ) -> None:
        super().__init__()
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
        self._stopped: str | None = None
        self._keep = keep
        self._on_the_way: dict[int, TrialResult] = {}
        records = store.trials()
        self._counted = {record.number for record in records if record.state in ("complete", "pruned")}
        self._seen = {record.digest for record in records if record.state not in ("failed", "duplicate")}
        running = optuna_study.running()  # a driver may have died between Optuna's record of a baseline and ours
        self._begun = {record.baseline for record in records} | {one.notes.get("baseline") for one in running}
        self._missing = deque(name for name in self._baselines if name not in self._begun)
        self._orphans = deque(proposal.number for proposal in running)
        self._duplicates = self._infeasible = self._failures = 0
        self._waves = deque(waves)
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
    def num_wanted(self) -> int:
        return self._settings.trials

    def next(self) -> TrialOrder | Wait | Finished:
        """Give the next trial to run; it counts as running until `finished` or `crashed`."""
        while self._orphans:
            order = self._adopt(self._orphans.popleft())
            if order is not None:
                return self._start(order)
        if self._missing:
            return self._start(self._order_baseline(self._missing.popleft()))
        if self._stopped is not None:
            return Wait() if self._live else Finished(self._stopped)
        self._open_waves()
        if self._missing:
            return self._start(self._order_baseline(self._missing.popleft()))
        if self._waves and self._live:
            return Wait()
        if self.num_finished + len(self._live) >= self._settings.trials:
            return Wait() if self._live else Finished(f"{self.num_finished} trials are finished")
        order = self._propose()
        if order is None:
            return Wait() if self._live else Finished(self._stopped or "every schedule of the space has been evaluated")
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
        self._forget(number)
        self._store.record(number, result)
        image = self._run_dir / "trials" / str(number) / "samples.png"
        if image.exists():
            self._optuna_study.attach_image(number, image, folder=self._run_dir / ARTIFACTS)
        values = None
        if result.state == "complete":
            values = [result.measurements[name].value for name in self._objectives]
        self._optuna_study.tell(number, values, result.constraints)
        if result.state in ("complete", "pruned"):
            self._counted.add(number)
        self._infeasible = self._infeasible + 1 if result.state == "infeasible" else 0
        self._failures = 0
        if self._infeasible >= INFEASIBLE_IN_A_ROW:
            measured = [record.measurements for record in self._store.trials() if record.baseline is None]
            found = [row.get("latency_ms") or row.get("predicted_latency_ms") for row in measured]
            least = min(latency.value for latency in found if latency is not None)
            self._stopped = (
                f"{self._infeasible} schedules in a row broke a limit; the fastest took {least:.3g} ms/image"
            )
        self.announce(Ended(number=number, state=result.state, result=result, reason=result.reason))

    def crashed(self, number: int, reason: str) -> None:
        """Record that a trial ended in an error."""
        self._forget(number)
        self._failures += 1
        if self._failures >= FAILURES_IN_A_ROW:
            self._stopped = f"{self._failures} trials in a row failed, the last with: {reason}"
        self._fail(number, reason)

    def interrupted(self, number: int) -> None:
        """Start a trial that lost its worker again, or fail it after too many attempts."""
        self._forget(number)
        self._orphans.append(number)

    def _goes_on(self, number: int, rung: int) -> bool:
        """Compare a trial with all that have reached the rung, those that are running among them."""
        records = []
        for record in self._store.trials():
            so_far = self._on_the_way.get(record.number)
            running = so_far and replace(record, rungs=so_far.rungs, measurements=so_far.measurements)
            records.append(running or record)
        score = scores(records, quality=self._objectives[0], updates=rung)
        reached = [record for record in records if record.number in score]
        points = [
            (score[record.number], *(record.measurements[name].value for name in self._objectives[1:]))
            for record in reached
        ]
        own = next(index for index, record in enumerate(reached) if record.number == number)
        return goes_on(np.array(points), own, keep=self._keep)

    def _start(self, order: TrialOrder) -> TrialOrder:
        self._store.start(order.number, order.candidate, baseline=order.baseline)
        self._live[order.number] = order
        self._seen.add(order.candidate.digest)
        self.announce(Started(order=order))
        return order

    def _forget(self, number: int) -> None:
        """Remove a trial from those that run."""
        self._live.pop(number, None)
        self._on_the_way.pop(number, None)

    def _fail(self, number: int, reason: str) -> None:
        self._store.end(number, "failed", reason=reason)
        self._optuna_study.discard(number)
        self.announce(Ended(number=number, state="failed", reason=reason))

    def _adopt(self, number: int) -> TrialOrder | None:
        """Tell the result of an interrupted trial if it left one; else order it again."""
        proposal = self._optuna_study.proposal(number)
        if "digest" not in proposal.notes:  # an earlier version noted it last: its driver died while it asked
            self._optuna_study.discard(number)
            return None
        baseline = proposal.notes.get("baseline")
        order = self._order(number, Candidate.from_dict(json.loads(proposal.notes["candidate"])), baseline)
        known = {record.number: record for record in self._store.trials()}
        if number not in known:  # the driver died before it started the trial
            return self._settle(number, order.candidate) if baseline is None else order
        saved = order.trial_dir / "result.json"
        if saved.exists():
            self._seen.add(order.candidate.digest)
            self.finished(number, TrialResult.from_dict(json.loads(saved.read_text())))
            return None
        if known[number].attempts > self._settings.max_retries:
            self._fail(number, f"was interrupted {known[number].attempts} times")
            return None
        return order

    def _open_waves(self) -> None:
        """Add the baselines of every wave whose forerunners have all ended; a search that resumes adds the same."""
        while self._waves:
            ended = {record.baseline: record for record in self._store.trials() if record.state != "running"}
            if not self._baselines.keys() <= ended.keys():
                return
            complete = [one for name in self._baselines if (one := ended[name]).state == "complete"]
            results = {record.digest: record.measurements[self._objectives[0]].value for record in complete}
            known = {baseline.candidate.digest for baseline in self._baselines.values()}
            for baseline in self._waves.popleft()(results):
                if baseline.candidate.digest not in known:
                    known.add(baseline.candidate.digest)
                    self._baselines[baseline.name] = baseline
                    self._missing.extend({baseline.name} - self._begun)

    def _order(self, number: int, candidate: Candidate, baseline: str | None) -> TrialOrder:
        return TrialOrder(
            number=number,
            candidate=candidate,
            run_dir=self._run_dir,
            seed=self._settings.seed,
            baseline=baseline,
            fine_tune=baseline is None or self._baselines[baseline].fine_tune,
        )

    def _order_baseline(self, name: str) -> TrialOrder:
        candidate = self._baselines[name].candidate
        proposal = self._optuna_study.add_baseline(name, _notes(candidate))
        return self._order(proposal.number, candidate, name)

    def _propose(self) -> TrialOrder | None:
        """Propose an unseen candidate: by turns the acquisition's choice, if there is one, and the sampler's."""
        acquisition, records = self._acquisition, self._store.trials()
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
        return self._ask(unseen[acquisition.best(built, records)])

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
            order = self._ask(drawn)
            if order is not None:
                return order

    def _ask(self, fixed: Mapping[str, Value] | None) -> TrialOrder | None:
        """Give the order for the sampler's proposal or for `fixed` parameters; None for a duplicate."""
        proposal = self._optuna_study.ask(lambda parameters: _notes(self._space.build(parameters)), fixed=fixed)
        return self._settle(proposal.number, self._space.build(proposal.parameters))

    def _settle(self, number: int, candidate: Candidate) -> TrialOrder | None:
        """Give the order for a new trial, or end it as a duplicate."""
        if candidate.digest not in self._seen:
            self._duplicates = 0
            return self._order(number, candidate, None)
        self._duplicates += 1
        self._store.start(number, candidate, baseline=None)
        self._store.end(number, "duplicate", reason="the same schedule was evaluated before")
        self._optuna_study.discard(number)
        return None


def _notes(candidate: Candidate) -> dict[str, str]:
    return {"candidate": json.dumps(candidate.to_dict()), "schedule": str(candidate), "digest": candidate.digest}

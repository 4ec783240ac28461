"""The ledger of a search: what was decided and what came of it, kept as one.

A trial has a row in Optuna's study, which decides, and one in the store, which holds the evidence. It goes through the
states below by single transactions, each in one of the two, so that a driver may die before or after any of them: the
two rows say where the trial is, and `Ledger` goes on from there.

| Optuna's row | our row | the trial | what is done when a search is opened |
|---|---|---|---|
| running | none | is asked | it is judged again: run, or put away as a duplicate |
| running | running | is noted | the result that it left is taken, or it runs again |
| running | ended | has ended | Optuna is told |
| ended | ended | is told | nothing |
| waiting, or running without a digest | none | was asked by an earlier version | it is failed |
| ended | running | was ended by another program | it is failed |
| none, or another candidate's | any | has lost its study | an error |
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexsearch.errors import UserError
from flexsearch.measurement import Measurement
from flexsearch.schedule.candidate import Candidate
from flexsearch.space.domains import Value
from flexsearch.space.search_space import SearchSpace
from flexsearch.study.optuna_study import ARTIFACTS, OptunaStudy, Proposal
from flexsearch.study.store import RecordState, Store
from flexsearch.trial.contract import TrialResult


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A trial that is asked, and noted if it was started before."""

    number: int
    candidate: Candidate
    baseline: str | None
    is_noted: bool = False


class Ledger:
    """Write what is asked, noted, ended and told.

    Args:
        optuna_study: proposes.
        store: keeps the results.
        space: gives candidates for parameters.
        objectives: names of the measurements that are told, in the study's order.
        run_dir: where the dashboard's images lie.

    Raises:
        UserError: there is evidence whose study is gone or another one; nothing has been written then.
    """

    def __init__(
        self,
        *,
        optuna_study: OptunaStudy,
        store: Store,
        space: SearchSpace,
        objectives: Sequence[str],
        run_dir: Path,
    ) -> None:
        self._optuna_study = optuna_study
        self._store = store
        self._space = space
        self._objectives = tuple(objectives)
        self._run_dir = run_dir
        self._check_evidence()
        optuna_study.fail_waiting()
        self.unfinished = self._opened()

    def _check_evidence(self) -> None:
        decided = self._optuna_study.notes("digest")
        for number, digest in self._store.digests().items():
            if number not in decided or decided[number] not in (None, digest):
                raise UserError(
                    f"holds the results of trial {number} ({digest}) of study {self._store.study!r}, but not the "
                    "study that decided it; restore the database, or use another name and --run-dir",
                    field="--storage",
                )

    def _opened(self) -> list[Entry]:
        """Bring every trial as far as it can go by itself; give those that are to be judged or run."""
        records, unfinished = {record.number: record for record in self._store.trials()}, []
        running = {proposal.number: proposal for proposal in self._optuna_study.running()}
        for number, proposal in running.items():
            record = records.get(number)
            if record is not None and record.state != "running":
                self._tell(number, record.state, record.measurements)
            elif "digest" not in proposal.notes:
                self._optuna_study.discard(number)
            else:
                candidate = Candidate.from_dict(json.loads(proposal.notes["candidate"]))
                baseline = proposal.notes.get("baseline")
                unfinished.append(
                    Entry(number=number, candidate=candidate, baseline=baseline, is_noted=record is not None)
                )
        for number, record in records.items():
            if record.state == "running" and number not in running:
                self._store.end(number, "failed", reason="was ended in Optuna's study by another program")
        return unfinished

    def ask(self, fixed: Mapping[str, Value] | None) -> Entry:
        """Ask the sampler for a trial, or for one with `fixed` parameters."""
        return self._entry(
            self._optuna_study.ask(lambda parameters: _notes(self._space.build(parameters)), fixed=fixed), None
        )

    def ask_baseline(self, name: str, candidate: Candidate) -> Entry:
        """Ask for a baseline's trial."""
        return self._entry(self._optuna_study.add_baseline(name, _notes(candidate)), name)

    def _entry(self, proposal: Proposal, baseline: str | None) -> Entry:
        candidate = Candidate.from_dict(json.loads(proposal.notes["candidate"]))
        return Entry(number=proposal.number, candidate=candidate, baseline=baseline)

    def note(self, number: int, candidate: Candidate, *, baseline: str | None) -> None:
        """Note that a trial runs."""
        self._store.start(number, candidate, baseline=baseline)

    def put_away(self, entry: Entry) -> None:
        """End a trial that another one has made unnecessary."""
        self._store.put_away(entry.number, entry.candidate, reason="the same schedule was evaluated before")
        self._tell(entry.number, "duplicate", {})

    def end(self, number: int, result: TrialResult) -> None:
        """End a trial with its result. What only Optuna keeps is there before the evidence says that it has ended."""
        self._optuna_study.constrain(number, result.constraints)
        image = self._run_dir / "trials" / str(number) / "samples.png"
        if image.exists():
            self._optuna_study.attach_image(number, image, folder=self._run_dir / ARTIFACTS)
        self._store.record(number, result)
        self._tell(number, result.state, result.measurements)

    def _tell(self, number: int, state: RecordState, measurements: Mapping[str, Measurement]) -> None:
        """Tell Optuna how a trial has ended, which follows from its evidence alone."""
        if state in ("failed", "duplicate"):
            self._optuna_study.discard(number)
        else:
            values = [measurements[name].value for name in self._objectives] if state == "complete" else None
            self._optuna_study.tell(number, values)


def _notes(candidate: Candidate) -> dict[str, Any]:
    return {"candidate": json.dumps(candidate.to_dict()), "schedule": str(candidate), "digest": candidate.digest}

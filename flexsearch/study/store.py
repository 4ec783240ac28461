"""The results: what was measured, how, and what it cost.

Only the driver writes. Recording a trial replaces what was recorded of it before, its cost included, in one
transaction.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Literal

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Table,
    and_,
    delete,
    func,
    insert,
    inspect,
    or_,
    select,
    update,
)

from flexsearch.latency.settings import EAGER
from flexsearch.measurement import Measurement
from flexsearch.old_names import MACS_PER_FORWARD, as_it_was_written, macs_of_an_image
from flexsearch.schedule.candidate import Candidate
from flexsearch.study.migrations import migrate
from flexsearch.study.rows import candidate_of, cost_rows, measurement_of, measurement_row, rung_row
from flexsearch.study.tables import CONFIRMATION, COST, CURVE, MEASUREMENT, RUN, RUNG, TRIAL
from flexsearch.trial.contract import Rung, TrialResult

Remeasured = dict[int, dict[int, dict[int, dict[str, Measurement]]]]
"""Measurements by images drawn, trial number, sampling seed and name."""

RecordState = Literal["running", "complete", "pruned", "infeasible", "duplicate", "failed"]

_NO_IMAGES = 0  # of confirmations: a trial was timed again, and nothing was drawn
_SHARED = -1  # the trial number of what all trials share
_AT_ONCE = 500  # trials that a query names: databases limit how many values one may have
_OF_A_TRIAL = ("number", "candidate", "baseline", "state", "reason", "attempts", "started", "ended")
_OF_A_MEASUREMENT = ("name", "value", "unit", "spread", "protocol")
_OF_TRIALS = "trials: "  # before a phase: seconds of trials under the study's seed


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial: candidate, state and results.

    Attributes:
        num_updates: fine-tuning updates; their losses are in `Store.curve`.
        measurements: of the study's seed, by name.
        rungs: measured on the way, by updates.
        seconds: of the device, by phase.
    """

    number: int
    candidate: Candidate
    baseline: str | None
    state: RecordState
    reason: str | None
    attempts: int
    started: str
    ended: str | None
    num_updates: int = 0
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    rungs: tuple[Rung, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Of the candidate."""
        return self.candidate.digest

    def rung(self, updates: int) -> Rung | None:
        """Give what was measured after so many updates; None if nothing was."""
        return next((rung for rung in self.rungs if rung.updates == updates), None)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Wall seconds of device time spent on one thing: a phase of all trials, or a shared file."""

    what: str
    seconds: float
    device: str


@dataclass(frozen=True, kw_only=True)
class Timing:
    """A later latency of a trial than its own, what was timed beside it, and whether it is later than its confirmation
    too."""

    latency: Measurement
    is_later_than_confirmation: bool
    beside: tuple[Measurement, ...] = ()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def has_study(engine: Engine, study: str) -> bool:
    """Tell whether a database has results of a study; nothing is written."""
    if not inspect(engine).has_table(RUN.name):
        return False
    with engine.connect() as connection:
        return connection.execute(select(RUN.c.study).where(RUN.c.study == study)).scalar() is not None


class Store:
    """Read and write the results of one study.

    Args:
        engine: a connected engine; missing tables are created, those of earlier versions brought to today's.
        study: the study's name.
        seed: of the study: measurements under it are the trial's own, others measure noise.
    """

    def __init__(self, engine: Engine, *, study: str, seed: int = 0) -> None:
        self.engine = engine
        self.study = study
        self.seed = seed
        self._known: dict[int, TrialRecord] = {}
        self._open: set[int] = set()  # numbers of trials that may have changed since
        migrate(engine)

    def _own(self, table: Table, **key: Any) -> ColumnElement[bool]:
        """Select the study's rows of a table in which the columns of `key` have its values."""
        return and_(table.c.study == self.study, *(table.c[name] == value for name, value in key.items()))

    def _replace(
        self, connection: Connection, table: Table, key: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]
    ) -> None:
        """Delete the study's rows with `key` and insert `rows`, which lack study and key."""
        connection.execute(delete(table).where(self._own(table, **key)))
        whole = [{"study": self.study, **key, **row} for row in rows]
        if whole:
            connection.execute(insert(table), whole)

    def config(self) -> dict[str, Any] | None:
        """Read the resolved configuration that the study was started with; None for a new study."""
        with self.engine.connect() as connection:
            config = connection.execute(select(RUN.c.config).where(RUN.c.study == self.study)).scalar()
        return None if config is None else as_it_was_written(json.loads(config))

    def version(self) -> str | None:
        """Read the version of flexsearch that started the study; None for a new study."""
        with self.engine.connect() as connection:
            return connection.execute(select(RUN.c.version).where(RUN.c.study == self.study)).scalar()

    def save_config(self, config: Mapping[str, Any], *, version: str) -> None:
        """Record the configuration of the study, and when it was new."""
        with self.engine.begin() as connection:
            created = connection.execute(select(RUN.c.created).where(self._own(RUN))).scalar() or _now()
            row = {"config": json.dumps(config), "version": version, "created": created}
            self._replace(connection, RUN, {}, [row])

    def start(self, number: int, candidate: Candidate, *, baseline: str | None) -> int:
        """Record that a trial runs; return how often it was started."""
        key = self._own(TRIAL, number=number)
        self._forget(number)
        with self.engine.begin() as connection:
            attempts = (connection.execute(select(TRIAL.c.attempts).where(key)).scalar() or 0) + 1
            row = {
                "digest": candidate.digest,
                "candidate": json.dumps(candidate.to_dict()),
                "baseline": baseline,
                "state": "running",
                "attempts": attempts,
                "started": _now(),
            }
            if attempts == 1:
                connection.execute(insert(TRIAL).values(study=self.study, number=number, **row))
            else:
                connection.execute(update(TRIAL).where(key).values(**row))
        return int(attempts)

    def put_away(self, number: int, candidate: Candidate, *, reason: str) -> None:
        """Record a trial that never runs, because another one has its schedule."""
        row = {"digest": candidate.digest, "candidate": json.dumps(candidate.to_dict()), "baseline": None}
        ended = {"state": "duplicate", "reason": reason, "attempts": 1, "started": _now(), "ended": _now()}
        self._forget(number)
        with self.engine.begin() as connection:
            connection.execute(delete(TRIAL).where(self._own(TRIAL, number=number)))
            connection.execute(insert(TRIAL).values(study=self.study, number=number, **row, **ended))

    def end(self, number: int, state: RecordState, *, reason: str | None = None) -> None:
        """Record how a trial ended."""
        with self.engine.begin() as connection:
            self._end(connection, number, state, reason)

    def _end(self, connection: Connection, number: int, state: RecordState, reason: str | None) -> None:
        ended = {"state": state, "reason": reason, "ended": _now()}
        self._forget(number)
        connection.execute(update(TRIAL).where(self._own(TRIAL, number=number)).values(**ended))

    def record(self, number: int, result: TrialResult, *, seed: int | None = None) -> None:
        """Record a result: under the study's seed as the trial's own, under another seed as a repetition."""
        seed = self.seed if seed is None else seed
        is_own = seed == self.seed
        self._forget(number)
        with self.engine.begin() as connection:
            key = {"number": number, "seed": seed}
            self._replace(connection, MEASUREMENT, key, map(measurement_row, result.measurements.values()))
            self._replace(connection, COST, key, cost_rows(f"{_OF_TRIALS}{{}}" if is_own else "noise: {}", result))
            if is_own:
                curve = [{"update_": done, "loss": loss} for done, loss in result.curve]
                self._replace(connection, CURVE, {"number": number}, curve)
                self._replace(connection, RUNG, {"number": number}, map(rung_row, result.rungs))
                self._end(connection, number, result.state, result.reason)

    def record_confirmation(self, number: int, result: TrialResult, *, seed: int, images: int) -> None:
        """Record the repeated measurements of a finished trial; the same images replace themselves, cost included. They
        are later than any timing before them."""
        key = {"number": number, "seed": seed}
        rows = map(measurement_row, result.measurements.values())
        with self.engine.begin() as connection:
            timing = self._own(CONFIRMATION, number=number, images=_NO_IMAGES)
            connection.execute(update(CONFIRMATION).where(timing).values(seed=0))
            self._replace(connection, CONFIRMATION, {**key, "images": images}, rows)
            for row in cost_rows(f"confirm: {{}}, {images} images", result):
                self._replace(connection, COST, {**key, "what": row["what"]}, [row])

    def record_timing(self, number: int, latency: Measurement, *beside: Measurement) -> None:
        """Record that a finished trial was timed again. Its own latency, by which the search went, stays; an earlier
        timing is replaced. In place of a seed stands whether it is later than the trial's confirmation."""
        others = self._own(CONFIRMATION, number=number) & (CONFIRMATION.c.images != _NO_IMAGES)
        with self.engine.begin() as connection:
            is_later = connection.execute(select(CONFIRMATION.c.number).where(others).limit(1)).first() is not None
            rows = [{**measurement_row(one), "seed": int(is_later)} for one in (latency, *beside)]
            self._replace(connection, CONFIRMATION, {"number": number, "images": _NO_IMAGES}, rows)

    def timings(self) -> dict[int, Timing]:
        """Read the latencies of trials that were timed again, by number."""
        columns = (CONFIRMATION.c[name] for name in ("number", "seed", *_OF_A_MEASUREMENT))
        rows = select(*columns).where(self._own(CONFIRMATION, images=_NO_IMAGES))
        found: dict[int, list[Measurement]] = {}
        later: dict[int, bool] = {}
        with self.engine.connect() as connection:
            for number, seed, *measured in connection.execute(rows):
                found.setdefault(number, []).append(measurement_of(*measured))
                later[number] = bool(seed)
        timings = {}
        for number, measured in found.items():
            latency, *beside = sorted(measured, key=lambda one: one.name == EAGER)
            timings[number] = Timing(latency=latency, is_later_than_confirmation=later[number], beside=tuple(beside))
        return timings

    def confirmations(self) -> Remeasured:
        """Read the repeated measurements of finished trials, but not of those that were only timed again."""
        found: Remeasured = {}
        columns = (CONFIRMATION.c[name] for name in ("images", "number", "seed", *_OF_A_MEASUREMENT))
        own = self._own(CONFIRMATION) & (CONFIRMATION.c.images != _NO_IMAGES)
        with self.engine.connect() as connection:
            for images, number, seed, *measured in connection.execute(select(*columns).where(own)):
                seeds = found.setdefault(images, {}).setdefault(number, {})
                one = measurement_of(*measured)
                seeds.setdefault(seed, {})[one.name] = one
        return found

    def record_cost(self, cost: Cost) -> None:
        """Record what something shared cost; the same thing is counted once."""
        key = {"what": cost.what, "number": _SHARED}
        with self.engine.begin() as connection:
            row = {"seed": self.seed, "seconds": cost.seconds, "device": cost.device}
            self._replace(connection, COST, key, [row])

    def costs(self) -> list[Cost]:
        """Sum the seconds of each shared thing, and of each phase over all trials."""
        totals = select(COST.c.what, func.sum(COST.c.seconds).label("seconds"), func.max(COST.c.device).label("device"))
        totals = totals.where(self._own(COST)).group_by(COST.c.what).order_by(COST.c.what)
        with self.engine.connect() as connection:
            return [Cost(what=row.what, seconds=row.seconds, device=row.device) for row in connection.execute(totals)]

    def digests(self) -> dict[int, str]:
        """Read the digest of every trial's candidate as it was noted, by number."""
        rows = select(TRIAL.c.number, TRIAL.c.digest).where(self._own(TRIAL))
        with self.engine.connect() as connection:
            return {row.number: row.digest for row in connection.execute(rows)}

    def trials(self) -> list[TrialRecord]:
        """Read every trial, by number.

        One that has ended stays as it is, but for what this object writes, and numbers rise: only those that were
        running and those that are new are looked at, and what of them has not changed is not read again.
        """
        may_differ = or_(TRIAL.c.number > max(self._known, default=-1), TRIAL.c.number.in_(self._open))
        with self.engine.connect() as connection:
            rows = self._trial_rows(connection, may_differ)
            changed = [row for row in rows if _is_another(row, self._known.get(row.number))]
            self._known |= {record.number: record for record in self._read(connection, changed)}
        self._open = {row.number for row in rows if row.state == "running"}
        return [self._known[number] for number in sorted(self._known)]

    def trial(self, number: int) -> TrialRecord | None:
        """Read one trial; None where there is none."""
        with self.engine.connect() as connection:
            return next(self._read(connection, self._trial_rows(connection, TRIAL.c.number == number)), None)

    def _forget(self, number: int) -> None:
        """Have a trial read again, which is about to be written."""
        self._known.pop(number, None)
        self._open.add(number)

    def _trial_rows(self, connection: Connection, which: ColumnElement[bool]) -> list[Any]:
        """Read the rows of trials, with how many updates each had."""
        # One look into the index per trial: curves are long.
        updates = select(func.max(CURVE.c.update_)).where(
            CURVE.c.study == TRIAL.c.study, CURVE.c.number == TRIAL.c.number
        )
        columns = (TRIAL.c[name] for name in _OF_A_TRIAL)
        trials = select(*columns, updates.scalar_subquery()).where(self._own(TRIAL), which)
        return list(connection.execute(trials))

    def _read(self, connection: Connection, rows: Sequence[Any]) -> Iterator[TrialRecord]:
        """Add what other tables hold of trials."""
        if not rows:
            return
        numbers = [row.number for row in rows]

        def those(*columns: Column[Any], **key: Any) -> Iterable[Any]:
            """Read columns of these trials, the number first; of many, those of all trials."""
            number = columns[0].table.c.number
            wanted = select(number, *columns).where(self._own(columns[0].table, **key))
            found = connection.execute(wanted.where(number.in_(numbers)) if len(numbers) <= _AT_ONCE else wanted)
            return chain.from_iterable(found.partitions(_AT_ONCE))

        measured: dict[int, dict[str, Measurement]] = {}
        for number, *found in those(*(MEASUREMENT.c[name] for name in _OF_A_MEASUREMENT), seed=self.seed):
            one = measurement_of(*found)
            measured.setdefault(number, {})[one.name] = one
        rungs: dict[int, list[Rung]] = {}
        for number, updates, quality, distance in those(RUNG.c.update_, RUNG.c.quality, RUNG.c.paired_distance):
            rungs.setdefault(number, []).append(Rung(updates=updates, quality=quality, paired_distance=distance))
        seconds: dict[int, dict[str, float]] = {}
        for number, what, spent in those(COST.c.what, COST.c.seconds, seed=self.seed):
            if what.startswith(_OF_TRIALS):
                seconds.setdefault(number, {})[sys.intern(what.removeprefix(_OF_TRIALS))] = spent
        for number, text, baseline, state, reason, attempts, started, ended, num_updates in rows:
            candidate = candidate_of(text)
            yield TrialRecord(
                number=number,
                candidate=candidate,
                baseline=baseline,
                state=state,
                reason=reason,
                attempts=attempts,
                started=started,
                ended=ended,
                num_updates=num_updates or 0,
                measurements=self._as_of_today(measured.get(number, {}), candidate),
                rungs=tuple(sorted(rungs.get(number, ()), key=lambda rung: rung.updates)),
                seconds=seconds.get(number, {}),
            )

    def _as_of_today(self, measured: Mapping[str, Measurement], candidate: Candidate) -> Mapping[str, Measurement]:
        """Read MACs that an earlier version counted per forward pass as those of an image."""
        macs = measured.get("macs")
        if macs is None or macs.unit != MACS_PER_FORWARD:
            return measured
        guidance = ((self.config() or {}).get("sampling") or {}).get("guidance", 1.0)
        per_image = macs_of_an_image(macs.value, steps=candidate.sampling.steps, guidance=guidance)
        return {**measured, "macs": replace(macs, value=per_image, unit="MACs/image")}

    def curve(self, number: int) -> tuple[tuple[int, float], ...]:
        """Read the (update, loss) pairs of a trial's fine-tune."""
        points = select(CURVE.c.update_, CURVE.c.loss).where(self._own(CURVE, number=number)).order_by(CURVE.c.update_)
        with self.engine.connect() as connection:
            return tuple((row.update_, row.loss) for row in connection.execute(points))

    def repetitions(self, name: str) -> dict[int, dict[int, float]]:
        """Read values of measurement `name` by trial number and seed, of trials measured under several seeds."""
        found: dict[int, dict[int, float]] = {}
        columns = (MEASUREMENT.c.number, MEASUREMENT.c.seed, MEASUREMENT.c.value)
        with self.engine.connect() as connection:
            for number, seed, value in connection.execute(select(*columns).where(self._own(MEASUREMENT, name=name))):
                found.setdefault(number, {})[seed] = value
        return {number: values for number, values in found.items() if len(values) > 1}


def _is_another(row: Any, known: TrialRecord | None) -> bool:
    """Tell whether a row of a trial says what is not known of it."""
    return known is None or (row.state, row.attempts, row.started, row.ended) != (
        known.state,
        known.attempts,
        known.started,
        known.ended,
    )

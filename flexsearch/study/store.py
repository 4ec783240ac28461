"""The evidence, in tables beside Optuna's in the same database: what was measured, how, and what it cost.

Only the driver writes. Recording a trial replaces what was recorded of it before, its cost included, in one
transaction.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import (
    Column,
    Engine,
    Float,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from flexsearch.measurement import Measurement
from flexsearch.schedule.density import Candidate
from flexsearch.trial.contract import TrialResult

Remeasured = dict[int, dict[int, dict[int, dict[str, Measurement]]]]
"""Measurements by images drawn, trial number, sampling seed and name."""

RecordState = Literal["running", "complete", "pruned", "infeasible", "duplicate", "failed"]

_SHARED = -1  # the trial number of what all trials share

_tables = MetaData()
_RUN = Table(
    "flexsearch_run",
    _tables,
    Column("study", String(200), primary_key=True),
    Column("config", Text, nullable=False),
    Column("version", String(40), nullable=False),
    Column("created", String(40), nullable=False),
)
_TRIAL = Table(
    "flexsearch_trial",
    _tables,
    Column("study", String(200), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("digest", String(40), nullable=False),
    Column("candidate", Text, nullable=False),
    Column("baseline", String(200)),
    Column("state", String(20), nullable=False),
    Column("reason", Text),
    Column("attempts", Integer, nullable=False),
    Column("started", String(40), nullable=False),
    Column("ended", String(40)),
)


def _trial_key() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["study", "number"], [_TRIAL.c.study, _TRIAL.c.number])


_MEASUREMENT = Table(
    "flexsearch_measurement",
    _tables,
    Column("study", String(200), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("seed", Integer, primary_key=True),
    Column("name", String(100), primary_key=True),
    Column("value", Float(53), nullable=False),
    Column("unit", String(40), nullable=False),
    Column("spread", Float(53)),
    Column("protocol", Text, nullable=False),
    _trial_key(),
)
_CURVE = Table(
    "flexsearch_curve",
    _tables,
    Column("study", String(200), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("update_", Integer, primary_key=True),
    Column("loss", Float(53), nullable=False),
    _trial_key(),
)
_RUNG = Table(
    "flexsearch_rung",
    _tables,
    Column("study", String(200), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("update_", Integer, primary_key=True),
    Column("quality", Float(53), nullable=False),
    _trial_key(),
)
_CONFIRMATION = Table(
    "flexsearch_confirmation",
    _tables,
    Column("study", String(200), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("images", Integer, primary_key=True, autoincrement=False),
    Column("seed", Integer, primary_key=True),
    Column("name", String(100), primary_key=True),
    Column("value", Float(53), nullable=False),
    Column("unit", String(40), nullable=False),
    Column("spread", Float(53)),
    Column("protocol", Text, nullable=False),
    _trial_key(),
)
_COST = Table(
    "flexsearch_cost",
    _tables,
    Column("study", String(200), primary_key=True),
    Column("what", String(100), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("seed", Integer, primary_key=True, autoincrement=False),
    Column("seconds", Float(53), nullable=False),
    Column("device", String(200), nullable=False),
)


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """All that is known of one trial.

    Attributes:
        measurements: of the study's seed, by name.
        curve: (update, loss) pairs of the fine-tune.
        rungs: (own updates, quality) pairs, measured on the way, or after more updates than the trial's own.
    """

    number: int
    candidate: Candidate
    baseline: str | None
    state: RecordState
    reason: str | None
    attempts: int
    started: str
    ended: str | None
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    curve: tuple[tuple[int, float], ...] = ()
    rungs: tuple[tuple[int, float], ...] = ()

    @property
    def digest(self) -> str:
        return self.candidate.digest


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Wall seconds of device time spent on one thing: a phase of all trials, or a shared file."""

    what: str
    seconds: float
    device: str


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class Store:
    """The evidence of one study.

    Args:
        engine: a connected engine; missing tables are created.
        study: the study's name.
        seed: of the study: measurements under it are the trial's own, others measure noise.
    """

    def __init__(self, engine: Engine, *, study: str, seed: int = 0) -> None:
        self.engine = engine
        self.study = study
        self.seed = seed
        _tables.create_all(engine)

    def config(self) -> dict[str, Any] | None:
        """The resolved configuration that the study was started with; None for a new study."""
        with self.engine.connect() as connection:
            text = connection.execute(select(_RUN.c.config).where(_RUN.c.study == self.study)).scalar()
        return None if text is None else json.loads(text)

    def save_config(self, config: Mapping[str, Any], *, version: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(delete(_RUN).where(_RUN.c.study == self.study))
            row = {"study": self.study, "config": json.dumps(config), "version": version, "created": _now()}
            connection.execute(insert(_RUN).values(row))

    def start(self, number: int, candidate: Candidate, *, baseline: str | None) -> int:
        """Records that a trial runs; returns how often it was started."""
        key = (_TRIAL.c.study == self.study) & (_TRIAL.c.number == number)
        with self.engine.begin() as connection:
            attempts = (connection.execute(select(_TRIAL.c.attempts).where(key)).scalar() or 0) + 1
            row = {
                "digest": candidate.digest,
                "candidate": json.dumps(candidate.to_dict()),
                "baseline": baseline,
                "state": "running",
                "attempts": attempts,
                "started": _now(),
            }
            if attempts == 1:
                connection.execute(insert(_TRIAL).values(study=self.study, number=number, **row))
            else:
                connection.execute(update(_TRIAL).where(key).values(**row))
        return int(attempts)

    def end(self, number: int, state: RecordState, *, reason: str | None = None) -> None:
        """Records how a trial without a result ended."""
        key = (_TRIAL.c.study == self.study) & (_TRIAL.c.number == number)
        with self.engine.begin() as connection:
            connection.execute(update(_TRIAL).where(key).values(state=state, reason=reason, ended=_now()))

    def record(self, number: int, result: TrialResult, *, seed: int | None = None) -> None:
        """Records a result: under the study's seed as the trial's own, under another seed as a repetition."""
        seed = self.seed if seed is None else seed
        own = {"study": self.study, "number": number}
        measured = [{**own, "seed": seed, **_measurement_row(found)} for found in result.measurements.values()]
        with self.engine.begin() as connection:
            where = (_MEASUREMENT.c.study == self.study) & (_MEASUREMENT.c.number == number)
            connection.execute(delete(_MEASUREMENT).where(where & (_MEASUREMENT.c.seed == seed)))
            if measured:
                connection.execute(insert(_MEASUREMENT), measured)
            where = (_COST.c.study == self.study) & (_COST.c.number == number) & (_COST.c.seed == seed)
            connection.execute(delete(_COST).where(where))
            kind = "trials" if seed == self.seed else "noise"
            costs = [
                {**own, "seed": seed, "what": f"{kind}: {phase}", "seconds": seconds, "device": ""}
                for phase, seconds in result.seconds.items()
            ]
            if costs:
                connection.execute(insert(_COST), costs)
            if seed != self.seed:
                return
            curve = [{**own, "update_": done, "loss": loss} for done, loss in result.curve]
            rungs = [{**own, "update_": done, "quality": quality} for done, quality in result.rungs]
            for table, rows in ((_CURVE, curve), (_RUNG, rungs)):
                connection.execute(delete(table).where((table.c.study == self.study) & (table.c.number == number)))
                if rows:
                    connection.execute(insert(table), rows)
            key = (_TRIAL.c.study == self.study) & (_TRIAL.c.number == number)
            ended = {"state": result.state, "reason": result.reason, "ended": _now()}
            connection.execute(update(_TRIAL).where(key).values(**ended))

    def record_long(self, number: int, updates: int, result: TrialResult, *, objective: str) -> None:
        """Records what a longer fine-tune of a finished trial came to, as a rung, and its cost."""
        own = {"study": self.study, "number": number}
        rung = {**own, "update_": updates, "quality": result.measurements[objective].value}
        costs = [
            {**own, "seed": self.seed, "what": f"long: {phase}", "seconds": seconds, "device": ""}
            for phase, seconds in result.seconds.items()
        ]
        with self.engine.begin() as connection:
            mine = (_RUNG.c.study == self.study) & (_RUNG.c.number == number) & (_RUNG.c.update_ == updates)
            connection.execute(delete(_RUNG).where(mine))
            connection.execute(insert(_RUNG).values(**rung))
            mine = (_COST.c.study == self.study) & (_COST.c.number == number) & _COST.c.what.like("long: %")
            connection.execute(delete(_COST).where(mine))
            connection.execute(insert(_COST), costs)

    def record_confirmation(self, number: int, result: TrialResult, *, seed: int, images: int) -> None:
        """Records what was measured again of a finished trial; the same images replace themselves, cost included."""
        own = {"study": self.study, "number": number, "seed": seed}
        rows = [{**own, "images": images, **_measurement_row(found)} for found in result.measurements.values()]
        costs = [
            {**own, "what": f"confirm: {phase}, {images} images", "seconds": seconds, "device": ""}
            for phase, seconds in result.seconds.items()
        ]
        with self.engine.begin() as connection:
            for table, where, new in (
                (_CONFIRMATION, _CONFIRMATION.c.images == images, rows),
                (_COST, _COST.c.what.in_([cost["what"] for cost in costs]), costs),
            ):
                mine = (table.c.study == self.study) & (table.c.number == number) & (table.c.seed == seed)
                connection.execute(delete(table).where(mine & where))
                if new:
                    connection.execute(insert(table), new)

    def confirmations(self) -> Remeasured:
        """All that was measured again of finished trials."""
        found: Remeasured = {}
        with self.engine.connect() as connection:
            for row in connection.execute(select(_CONFIRMATION).where(_CONFIRMATION.c.study == self.study)):
                seeds = found.setdefault(row.images, {}).setdefault(row.number, {})
                seeds.setdefault(row.seed, {})[row.name] = _measurement(row)
        return found

    def record_cost(self, cost: Cost) -> None:
        """Records what something shared cost; the same thing is counted once."""
        own = {"study": self.study, "what": cost.what, "number": _SHARED, "seed": self.seed}
        with self.engine.begin() as connection:
            where = (_COST.c.study == self.study) & (_COST.c.what == cost.what) & (_COST.c.number == _SHARED)
            connection.execute(delete(_COST).where(where))
            connection.execute(insert(_COST).values(**own, seconds=cost.seconds, device=cost.device))

    def costs(self) -> list[Cost]:
        """What was spent: on each shared thing, and on each phase over all trials."""
        totals = select(
            _COST.c.what, func.sum(_COST.c.seconds).label("seconds"), func.max(_COST.c.device).label("device")
        )
        totals = totals.where(_COST.c.study == self.study).group_by(_COST.c.what).order_by(_COST.c.what)
        with self.engine.connect() as connection:
            return [Cost(what=row.what, seconds=row.seconds, device=row.device) for row in connection.execute(totals)]

    def trials(self) -> list[TrialRecord]:
        """Every trial, by number."""
        with self.engine.connect() as connection:
            rows = list(
                connection.execute(select(_TRIAL).where(_TRIAL.c.study == self.study).order_by(_TRIAL.c.number))
            )
            measured: dict[int, dict[str, Measurement]] = {}
            own = (_MEASUREMENT.c.study == self.study) & (_MEASUREMENT.c.seed == self.seed)
            for row in connection.execute(select(_MEASUREMENT).where(own)):
                measured.setdefault(row.number, {})[row.name] = _measurement(row)
            curves: dict[int, list[tuple[int, float]]] = {}
            points = select(_CURVE).where(_CURVE.c.study == self.study).order_by(_CURVE.c.update_)
            for row in connection.execute(points):
                curves.setdefault(row.number, []).append((row.update_, row.loss))
            rungs: dict[int, list[tuple[int, float]]] = {}
            points = select(_RUNG).where(_RUNG.c.study == self.study).order_by(_RUNG.c.update_)
            for row in connection.execute(points):
                rungs.setdefault(row.number, []).append((row.update_, row.quality))
        return [
            TrialRecord(
                number=row.number,
                candidate=Candidate.from_dict(json.loads(row.candidate)),
                baseline=row.baseline,
                state=row.state,
                reason=row.reason,
                attempts=row.attempts,
                started=row.started,
                ended=row.ended,
                measurements=measured.get(row.number, {}),
                curve=tuple(curves.get(row.number, ())),
                rungs=tuple(rungs.get(row.number, ())),
            )
            for row in rows
        ]

    def repetitions(self, name: str) -> dict[int, dict[int, float]]:
        """Values of measurement `name` by trial number and seed, for trials that were measured under several seeds."""
        with self.engine.connect() as connection:
            where = (_MEASUREMENT.c.study == self.study) & (_MEASUREMENT.c.name == name)
            found: dict[int, dict[int, float]] = {}
            for row in connection.execute(select(_MEASUREMENT).where(where)):
                found.setdefault(row.number, {})[row.seed] = row.value
        return {number: values for number, values in found.items() if len(values) > 1}


def _measurement_row(found: Measurement) -> dict[str, Any]:
    return {**found.to_dict(), "protocol": json.dumps(dict(found.protocol), sort_keys=True)}


def _measurement(row: Any) -> Measurement:
    return Measurement(
        name=row.name, value=row.value, unit=row.unit, spread=row.spread, protocol=json.loads(row.protocol)
    )

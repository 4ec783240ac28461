"""The evidence: what was measured, how, and what it cost.

Only the driver writes. Recording a trial replaces what was recorded of it before, its cost included, in one
transaction.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Engine, delete, func, insert, inspect, select, text, update

from flexsearch.measurement import Measurement
from flexsearch.schedule.candidate import Candidate
from flexsearch.study.tables import CONFIRMATION, COST, CURVE, MEASUREMENT, RUN, RUNG, TABLES, TRIAL
from flexsearch.trial.contract import Rung, TrialResult

Remeasured = dict[int, dict[int, dict[int, dict[str, Measurement]]]]
"""Measurements by images drawn, trial number, sampling seed and name."""

RecordState = Literal["running", "complete", "pruned", "infeasible", "duplicate", "failed"]

_SHARED = -1  # the trial number of what all trials share


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """All that is known of one trial.

    Attributes:
        measurements: of the study's seed, by name.
        curve: (update, loss) pairs of the fine-tune.
        rungs: measured on the way, or after more updates than the trial's own; by updates.
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
    rungs: tuple[Rung, ...] = ()

    @property
    def digest(self) -> str:
        """Of the candidate."""
        return self.candidate.digest

    def rung(self, updates: int) -> Rung | None:
        """What was measured after so many updates; None if nothing was."""
        return next((rung for rung in self.rungs if rung.updates == updates), None)


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
        TABLES.create_all(engine)
        _add_paired_distance_of_rungs(engine)

    def config(self) -> dict[str, Any] | None:
        """The resolved configuration that the study was started with; None for a new study."""
        with self.engine.connect() as connection:
            config = connection.execute(select(RUN.c.config).where(RUN.c.study == self.study)).scalar()
        return None if config is None else json.loads(config)

    def version(self) -> str | None:
        """The version of flexsearch that started the study; None for a new study."""
        with self.engine.connect() as connection:
            return connection.execute(select(RUN.c.version).where(RUN.c.study == self.study)).scalar()

    def save_config(self, config: Mapping[str, Any], *, version: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(delete(RUN).where(RUN.c.study == self.study))
            row = {"study": self.study, "config": json.dumps(config), "version": version, "created": _now()}
            connection.execute(insert(RUN).values(row))

    def start(self, number: int, candidate: Candidate, *, baseline: str | None) -> int:
        """Records that a trial runs; returns how often it was started."""
        key = (TRIAL.c.study == self.study) & (TRIAL.c.number == number)
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

    def end(self, number: int, state: RecordState, *, reason: str | None = None) -> None:
        """Records how a trial without a result ended."""
        key = (TRIAL.c.study == self.study) & (TRIAL.c.number == number)
        with self.engine.begin() as connection:
            connection.execute(update(TRIAL).where(key).values(state=state, reason=reason, ended=_now()))

    def record(self, number: int, result: TrialResult, *, seed: int | None = None) -> None:
        """Records a result: under the study's seed as the trial's own, under another seed as a repetition."""
        seed = self.seed if seed is None else seed
        own = {"study": self.study, "number": number}
        measured = [{**own, "seed": seed, **_measurement_row(found)} for found in result.measurements.values()]
        with self.engine.begin() as connection:
            where = (MEASUREMENT.c.study == self.study) & (MEASUREMENT.c.number == number)
            connection.execute(delete(MEASUREMENT).where(where & (MEASUREMENT.c.seed == seed)))
            if measured:
                connection.execute(insert(MEASUREMENT), measured)
            where = (COST.c.study == self.study) & (COST.c.number == number) & (COST.c.seed == seed)
            connection.execute(delete(COST).where(where))
            kind = "trials" if seed == self.seed else "noise"
            costs = [
                {**own, "seed": seed, "what": f"{kind}: {phase}", "seconds": seconds, "device": ""}
                for phase, seconds in result.seconds.items()
            ]
            if costs:
                connection.execute(insert(COST), costs)
            if seed != self.seed:
                return
            curve = [{**own, "update_": done, "loss": loss} for done, loss in result.curve]
            rungs = [{**own, **_rung_row(rung)} for rung in result.rungs]
            for table, rows in ((CURVE, curve), (RUNG, rungs)):
                connection.execute(delete(table).where((table.c.study == self.study) & (table.c.number == number)))
                if rows:
                    connection.execute(insert(table), rows)
            key = (TRIAL.c.study == self.study) & (TRIAL.c.number == number)
            ended = {"state": result.state, "reason": result.reason, "ended": _now()}
            connection.execute(update(TRIAL).where(key).values(**ended))

    def record_long(self, number: int, updates: int, result: TrialResult, *, objective: str) -> None:
        """Records what a longer fine-tune of a finished trial came to, as a rung, and its cost."""
        own = {"study": self.study, "number": number}
        rung = Rung(updates=updates, quality=result.measurements[objective].value)
        costs = [
            {**own, "seed": self.seed, "what": f"long: {phase}", "seconds": seconds, "device": ""}
            for phase, seconds in result.seconds.items()
        ]
        with self.engine.begin() as connection:
            mine = (RUNG.c.study == self.study) & (RUNG.c.number == number) & (RUNG.c.update_ == updates)
            connection.execute(delete(RUNG).where(mine))
            connection.execute(insert(RUNG).values(**own, **_rung_row(rung)))
            mine = (COST.c.study == self.study) & (COST.c.number == number) & COST.c.what.like("long: %")
            connection.execute(delete(COST).where(mine))
            connection.execute(insert(COST), costs)

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
                (CONFIRMATION, CONFIRMATION.c.images == images, rows),
                (COST, COST.c.what.in_([cost["what"] for cost in costs]), costs),
            ):
                mine = (table.c.study == self.study) & (table.c.number == number) & (table.c.seed == seed)
                connection.execute(delete(table).where(mine & where))
                if new:
                    connection.execute(insert(table), new)

    def confirmations(self) -> Remeasured:
        """All that was measured again of finished trials."""
        found: Remeasured = {}
        with self.engine.connect() as connection:
            for row in connection.execute(select(CONFIRMATION).where(CONFIRMATION.c.study == self.study)):
                seeds = found.setdefault(row.images, {}).setdefault(row.number, {})
                seeds.setdefault(row.seed, {})[row.name] = _measurement(row)
        return found

    def record_cost(self, cost: Cost) -> None:
        """Records what something shared cost; the same thing is counted once."""
        own = {"study": self.study, "what": cost.what, "number": _SHARED, "seed": self.seed}
        with self.engine.begin() as connection:
            where = (COST.c.study == self.study) & (COST.c.what == cost.what) & (COST.c.number == _SHARED)
            connection.execute(delete(COST).where(where))
            connection.execute(insert(COST).values(**own, seconds=cost.seconds, device=cost.device))

    def costs(self) -> list[Cost]:
        """What was spent: on each shared thing, and on each phase over all trials."""
        totals = select(COST.c.what, func.sum(COST.c.seconds).label("seconds"), func.max(COST.c.device).label("device"))
        totals = totals.where(COST.c.study == self.study).group_by(COST.c.what).order_by(COST.c.what)
        with self.engine.connect() as connection:
            return [Cost(what=row.what, seconds=row.seconds, device=row.device) for row in connection.execute(totals)]

    def trials(self) -> list[TrialRecord]:
        """Every trial, by number."""
        with self.engine.connect() as connection:
            rows = list(connection.execute(select(TRIAL).where(TRIAL.c.study == self.study).order_by(TRIAL.c.number)))
            measured: dict[int, dict[str, Measurement]] = {}
            own = (MEASUREMENT.c.study == self.study) & (MEASUREMENT.c.seed == self.seed)
            for row in connection.execute(select(MEASUREMENT).where(own)):
                measured.setdefault(row.number, {})[row.name] = _measurement(row)
            curves: dict[int, list[tuple[int, float]]] = {}
            points = select(CURVE).where(CURVE.c.study == self.study).order_by(CURVE.c.update_)
            for row in connection.execute(points):
                curves.setdefault(row.number, []).append((row.update_, row.loss))
            rungs: dict[int, list[Rung]] = {}
            points = select(RUNG).where(RUNG.c.study == self.study).order_by(RUNG.c.update_)
            for row in connection.execute(points):
                rung = Rung(updates=row.update_, quality=row.quality, paired_distance=row.paired_distance)
                rungs.setdefault(row.number, []).append(rung)
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
            where = (MEASUREMENT.c.study == self.study) & (MEASUREMENT.c.name == name)
            found: dict[int, dict[int, float]] = {}
            for row in connection.execute(select(MEASUREMENT).where(where)):
                found.setdefault(row.number, {})[row.seed] = row.value
        return {number: values for number, values in found.items() if len(values) > 1}


def _measurement_row(found: Measurement) -> dict[str, Any]:
    return {**found.to_dict(), "protocol": json.dumps(dict(found.protocol), sort_keys=True)}


def _add_paired_distance_of_rungs(engine: Engine) -> None:
    """Databases made before rungs had a drift lack its column."""
    if RUNG.c.paired_distance.name not in {column["name"] for column in inspect(engine).get_columns(RUNG.name)}:
        with engine.begin() as connection:
            connection.execute(
                text(f"ALTER TABLE {RUNG.name} ADD COLUMN {RUNG.c.paired_distance.name} DOUBLE PRECISION")
            )


def _rung_row(rung: Rung) -> dict[str, Any]:
    return {"update_": rung.updates, "quality": rung.quality, "drift": rung.paired_distance}


def _measurement(row: Any) -> Measurement:
    return Measurement(
        name=row.name, value=row.value, unit=row.unit, spread=row.spread, protocol=json.loads(row.protocol)
    )

"""The tables of the results, beside Optuna's in the same database. `store.py` reads and writes them."""

from typing import Any

from sqlalchemy import Column, Float, ForeignKeyConstraint, Integer, MetaData, String, Table, Text

TABLES = MetaData()
RUN = Table(
    "flexsearch_run",
    TABLES,
    Column("study", String(200), primary_key=True),
    Column("config", Text, nullable=False),
    Column("version", String(40), nullable=False),
    Column("created", String(40), nullable=False),
)
TRIAL = Table(
    "flexsearch_trial",
    TABLES,
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


def _of_trial(name: str, *columns: Column[Any]) -> Table:
    """Declare a table whose rows belong to a trial."""
    return Table(
        name,
        TABLES,
        Column("study", String(200), primary_key=True),
        Column("number", Integer, primary_key=True),
        *columns,
        ForeignKeyConstraint(["study", "number"], [TRIAL.c.study, TRIAL.c.number]),
    )


def _measured() -> tuple[Column[Any], ...]:
    """Declare the columns of a measurement."""
    return (
        Column("seed", Integer, primary_key=True),
        Column("name", String(100), primary_key=True),
        Column("value", Float(53), nullable=False),
        Column("unit", String(40), nullable=False),
        Column("spread", Float(53)),
        Column("protocol", Text, nullable=False),
    )


MEASUREMENT = _of_trial("flexsearch_measurement", *_measured())
CONFIRMATION = _of_trial(
    "flexsearch_confirmation", Column("images", Integer, primary_key=True, autoincrement=False), *_measured()
)
CURVE = _of_trial(
    "flexsearch_curve", Column("update_", Integer, primary_key=True), Column("loss", Float(53), nullable=False)
)
RUNG = _of_trial(
    "flexsearch_rung",
    Column("update_", Integer, primary_key=True),
    Column("quality", Float(53), nullable=False),
    Column("drift", Float(53), key="paired_distance"),
)
COST = Table(
    "flexsearch_cost",
    TABLES,
    Column("study", String(200), primary_key=True),
    Column("what", String(100), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("seed", Integer, primary_key=True, autoincrement=False),
    Column("seconds", Float(53), nullable=False),
    Column("device", String(200), nullable=False),
)

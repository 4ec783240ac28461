"""The table of all runs of the chaos program, a row each."""

import csv
from collections.abc import Mapping
from pathlib import Path

_KEY = ("seed", "executor", "storage")


def keep(row: Mapping[str, object], table: Path) -> None:
    """Add a row to a CSV file, in place of an earlier one of the same seed, executor and database."""
    rows = list(csv.DictReader(table.read_text().splitlines())) if table.exists() else []
    kept = [one for one in rows if any(one[name] != str(row[name]) for name in _KEY)]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerows([*kept, row])

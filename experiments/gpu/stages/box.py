"""What a stage gets, a time box, and what it gives back."""

import csv
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class OutOfTime(BaseException):
    """The box is spent. No `Exception`, so that nothing but the stage itself catches it."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """The time and the place of a stage.

    Attributes:
        seconds: that the stage may take.
        out: folder of results.
        scratch: folder of what is not kept: caches, weights, runs.
        device: "cuda" or "cpu".
        is_toy: the smallest sizes, whose numbers mean nothing.
        options: of the command line, beside the others.
        begun: on the monotonic clock, which all processes of a machine share.
    """

    seconds: float
    out: Path
    scratch: Path
    device: str
    is_toy: bool
    options: Mapping[str, Any]
    begun: float

    @property
    def left(self) -> float:
        """Seconds until the box is spent."""
        return self.begun + self.seconds - time.monotonic()

    @contextmanager
    def until(self, left: float = 0.0) -> Iterator[None]:
        """Cut what runs inside short when only `left` seconds are left; go on behind it."""

        def ring(*_: object) -> None:
            raise OutOfTime

        before = signal.signal(signal.SIGALRM, ring)
        try:
            signal.setitimer(signal.ITIMER_REAL, max(self.left - left, 0.01))
            yield
        except OutOfTime:
            pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a stage found.

    Attributes:
        lines: for the summary, at most 10.
        log: for the lab book, markdown.
    """

    lines: Sequence[str]
    log: str


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of equal keys, the whole file at once."""
    temporary = path.with_suffix(".part")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _printed(value) for key, value in row.items()} for row in rows)
    temporary.replace(path)


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Give rows of equal keys as a table."""
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([_printed(row[name]) for name in names] for row in rows)]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _printed(value: Any) -> Any:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else value

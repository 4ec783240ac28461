"""One sitting: commands run one after the other until the time is up; what they took is counted, losses included.

Every second of a sitting counts as device time: a command from its start to its end, interrupted work included, and
what is between commands as stage "around". The ledger is written while a command runs, so that a machine that is taken
away is counted too.
"""

import csv
import io
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from flexsearch.errors import UserError
from flexsearch.files import write_atomically

INTERRUPTED = 130
_WRITE_EVERY_S = 5.0
_PATIENCE_S = 40.0  # from the interrupt to the kill: one update, and a checkpoint written


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One command of one sitting. `outcome`: "running" (or cut off), "done", "interrupted", "failed"."""

    sitting: int
    stage: str
    begun: str
    seconds: float
    device: str
    outcome: str


class Ledger:
    """What was done and what it took, in a CSV file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries: list[Entry] = []
        if path.exists():
            with path.open(newline="") as file:
                self.entries = [_entry(row) for row in csv.DictReader(file)]

    def is_done(self, stage: str) -> bool:
        return any(entry.stage == stage and entry.outcome == "done" for entry in self.entries)

    def seconds(self) -> dict[str, float]:
        """Device seconds by stage."""
        totals: dict[str, float] = {}
        for entry in self.entries:
            totals[entry.stage] = totals.get(entry.stage, 0.0) + entry.seconds
        return totals

    def begin(self, stage: str, *, sitting: int, device: str) -> None:
        """A new last entry.

        Raises:
            UserError: the evidence is from another device: latencies of two devices never meet.
        """
        other = next((entry.device for entry in self.entries if entry.device != device), None)
        if other is not None:
            raise UserError(f"was measured on {other!r}, but this is {device!r}", field="device", nearest=other)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.entries.append(
            Entry(sitting=sitting, stage=stage, begun=now, seconds=0.0, device=device, outcome="running")
        )
        self._write()

    def update(self, *, seconds: float, outcome: str = "running") -> None:
        """Replaces the last entry's seconds and outcome."""
        self.entries[-1] = replace(self.entries[-1], seconds=round(seconds, 1), outcome=outcome)
        self._write()

    def _write(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=[spec.name for spec in fields(Entry)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(entry) for entry in self.entries)
        write_atomically(self._path, text.getvalue())


def _entry(row: Mapping[str, str]) -> Entry:
    return Entry(**{**row, "sitting": int(row["sitting"]), "seconds": float(row["seconds"])})


@dataclass(frozen=True, kw_only=True)
class Sitting:
    """A stretch of time on one device.

    Attributes:
        number: of the sitting, from 1.
        begun_at: on the monotonic clock.
        ends_at: on the monotonic clock; commands are interrupted then.
        device: its name.
        folder: where commands run.
        environment: of the commands.
    """

    number: int
    begun_at: float
    ends_at: float
    device: str
    folder: Path
    environment: Mapping[str, str]

    def run(self, stage: str, command: Sequence[str], ledger: Ledger) -> bool:
        """Runs a command, which must stop at SIGINT and go on when it is run again; whether it came to its end.

        Raises:
            UserError: it failed.
        """
        if time.monotonic() >= self.ends_at:
            return False
        begun = written = time.monotonic()
        ledger.begin(stage, sitting=self.number, device=self.device)
        child = subprocess.Popen(
            command, cwd=self.folder, env=dict(self.environment), start_new_session=True
        )  # of its own session: Ctrl-C is ours alone, and we pass it on once
        try:
            while child.poll() is None and time.monotonic() < self.ends_at:
                time.sleep(0.1)
                if time.monotonic() - written > _WRITE_EVERY_S:
                    written = time.monotonic()
                    ledger.update(seconds=written - begun)
        finally:
            code = _ended(child)
            outcome = {0: "done", INTERRUPTED: "interrupted", -signal.SIGKILL: "interrupted"}.get(code, "failed")
            ledger.update(seconds=time.monotonic() - begun, outcome=outcome)
        if outcome == "failed":
            raise UserError(f"failed with exit status {code}: {' '.join(command)}", field=stage)
        return outcome == "done"

    def count_the_rest(self, ledger: Ledger) -> None:
        """Notes what this sitting took so far beside what is noted."""
        noted = sum(entry.seconds for entry in ledger.entries if entry.sitting == self.number)
        ledger.begin("around", sitting=self.number, device=self.device)
        ledger.update(seconds=time.monotonic() - self.begun_at - noted, outcome="done")


def _ended(child: subprocess.Popen[bytes]) -> int:
    """The exit status, after an interrupt if the child still runs."""
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            child.kill()
    return child.wait()

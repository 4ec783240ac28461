"""Say how long what is left takes: work that is known before, times the seconds that such work took so far."""

import math
import statistics
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

_TELLING_S = 10.0  # of one kind, before it tells of another: starts take seconds, which are no measure


@dataclass(kw_only=True)
class _Job:
    kind: str
    work: float
    begun: float
    share: tuple[float, float] | None = None  # done when it was first told, and now


class TimeLeft:
    """Estimate seconds from jobs of several kinds.

    The seconds of a job are its work times what the median job of its kind took per work; of a kind that has not ended
    yet, what others took, so that works must be comparable. A running job counts with what it has left, never below
    none.

    Args:
        now: a clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._waiting: dict[str, Sequence[float]] = {}
        self._running: dict[Hashable, _Job] = {}
        self._rates: dict[str, list[float]] = {}
        self._spent: dict[str, float] = {}
        self._told: dict[str, float] = {}
        self.slots = 1

    def expect(self, works: Mapping[str, Sequence[float]]) -> None:
        """Set what is not begun yet: the work of every job, by kind."""
        self._waiting = dict(works)

    def tell(self, kind: str, rate: float) -> None:
        """Take seconds per work of a kind from elsewhere, until a job of it has ended."""
        self._told[kind] = rate

    def begin(self, key: Hashable, kind: str, work: float) -> None:
        """Begin a job."""
        self._running[key] = _Job(kind=kind, work=work, begun=self._now())

    def advance(self, key: Hashable, share: float) -> None:
        """Tell which share of a job is done."""
        job = self._running[key]
        job.share = (job.share[0] if job.share is not None else share, share)

    def end(self, key: Hashable, *, counts: bool = True) -> None:
        """End a job; one that was cut short does not count."""
        job = self._running.pop(key, None)
        if job is not None and counts:
            elapsed = self._now() - job.begun
            self._rates.setdefault(job.kind, []).append(elapsed / job.work)
            self._spent[job.kind] = self._spent.get(job.kind, 0.0) + elapsed

    def seconds(self) -> float | None:
        """Estimate what is left; None before anything tells."""
        waiting = sum(work * self._rate(kind) for kind, works in self._waiting.items() for work in works)
        left = (waiting + sum(map(self._left, self._running.values()))) / self.slots
        longest = max(map(self._left, self._running.values()), default=0.0)
        return None if math.isnan(left) else max(left, longest)

    def _left(self, job: _Job) -> float:
        elapsed = self._now() - job.begun
        if job.share is not None and job.share[1] > job.share[0]:
            before, done = job.share
            return elapsed / (done - before) * (1 - done)
        return max(0.0, job.work * self._rate(job.kind) - elapsed)

    def _rate(self, kind: str) -> float:
        """Seconds per work; not a number before anything tells."""
        if kind in self._rates:
            return statistics.median(self._rates[kind])
        if kind in self._told:
            return self._told[kind]
        ended = [rate for one, rates in self._rates.items() if self._spent[one] >= _TELLING_S for rate in rates]
        known = ended or list(self._told.values()) or list(self._running_rates())
        return statistics.median(known) if known else math.nan

    def _running_rates(self) -> Iterator[float]:
        for job in self._running.values():
            elapsed = self._now() - job.begun
            if job.share is not None and job.share[1] > job.share[0] and elapsed >= _TELLING_S:
                yield elapsed / (job.share[1] - job.share[0]) / job.work


def said(seconds: float | None, *, now: datetime | None = None) -> str:
    """Say an estimate: "about 4 min, until 14:32"; nothing of None."""
    if seconds is None:
        return ""
    now = datetime.now() if now is None else now
    end = now + timedelta(seconds=seconds)
    day = "" if end.date() == now.date() else f"{end:%A} "
    minutes = round(seconds / 60)
    if seconds < 55:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    hours = f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
    return f"about {hours}, until {day}{end:%H:%M}"

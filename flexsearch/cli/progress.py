"""Live progress of a search: what runs now, trials done, the best front so far, time left."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import IO

from rich.console import Console as Terminal
from rich.console import Group
from rich.live import Live
from rich.text import Text

from flexsearch.errors import UserError
from flexsearch.report.claim import claim_so_far
from flexsearch.study.events import Ended, Event, Moved, Noted, Started, Watcher
from flexsearch.study.executor import Choice
from flexsearch.study.repeats import OrderQueue
from flexsearch.study.run import Console
from flexsearch.study.search import Search
from flexsearch.trial.contract import Progress, TrialOrder


class SearchProgress(Console):
    """Show what a search does: a block that is redrawn on a terminal, elsewhere one line per finished trial. Write
    the lines to `run.log`.

    Args:
        terminal: where to print; stderr, so that stdout stays clean.
        objectives: quality first, then latency.
    """

    def __init__(self, terminal: Terminal, *, objectives: Sequence[str]) -> None:
        self._terminal = terminal
        self._objectives = tuple(objectives)
        self._live: Live | None = None
        self._log: IO[str] | None = None
        self._running: dict[int, tuple[TrialOrder, Progress]] = {}
        self._claim = ""
        self._preparation = ""
        self._search: Search | None = None
        self._queue: OrderQueue | None = None
        self._begun = time.monotonic()
        self._done_before = 0

    @contextmanager
    def log_to(self, run_dir: Path) -> Iterator[None]:
        """Draw while the block lasts; `RUN/run.log` is opened with the first news after the run directory is made."""
        self._log_path = run_dir / "run.log"
        if self._terminal.is_terminal:
            self._live = Live(console=self._terminal, refresh_per_second=4, transient=True, get_renderable=self._draw)
        try:
            with self._live or nullcontext():
                yield
        except UserError as error:
            self._log_line(f"error: {error}")
            raise
        finally:
            if self._log is not None:
                self._log.close()

    def message(self, text: str) -> None:
        self._terminal.print(text, highlight=False, soft_wrap=True)
        self._log_line(text)

    def _log_line(self, text: str) -> None:
        if self._log is None and self._log_path.parent.exists():
            self._log = self._log_path.open("a", buffering=1, encoding="utf-8", errors="backslashreplace")
        if self._log is not None:
            self._log.write(f"{datetime.now().isoformat(timespec='seconds')} {text}\n")

    def preparing(self, what: str, done: int, total: int) -> None:
        self._preparation = f"{what}: {done} of {total}" if done < total else ""
        if self._live is None and (done == 1 or done % max(total // 10, 1) == 0):
            self.message(f"{what}: {done} of {total}")

    def searching(self, search: Search, choice: Choice) -> Watcher:
        self._search, self._begun, self._done_before = search, time.monotonic(), search.num_finished
        self.message(f"searching with the {choice.name} executor, {choice.slots} at once ({choice.reason})")
        return self._see

    def repeating(self, orders: OrderQueue, what: str) -> Watcher:
        self._search, self._queue = None, orders
        self.message(f"{what}: {len(orders)} to do")
        return self._see

    def _see(self, event: Event) -> None:
        match event:
            case Started(order=order):
                self._running[order.number] = (order, Progress(phase="prepare"))
            case Moved(number=number, progress=progress):
                if number in self._running:
                    self._running[number] = (self._running[number][0], progress)
            case Noted(text=text):
                self.message(f"note: {text}")
            case Ended():
                self._ended(event)

    def _ended(self, event: Ended) -> None:
        order, _ = self._running.pop(event.number, (None, None))
        name = "" if order is None else f" {order.baseline or order.candidate}"
        repetition = f" seed {order.seed}" if order is not None and order.kind == "repeat" else ""
        found = event.result.measurements if event.result is not None else {}
        shown = ", ".join(f"{name} {found[name].value:.4g}" for name in self._objectives if name in found)
        if self._search is not None and event.state == "complete":
            self._claim = claim_so_far(self._search.records, self._objectives)
        count = "" if self._search is None else f"[{self._search.num_finished}/{self._search.num_wanted}] "
        count = count if self._queue is None else f"[{len(self._queue)} left] "
        self.message(
            f"{count}trial {event.number}{name}{repetition}: {event.state} {shown or event.reason or ''}".rstrip()
        )

    def _draw(self) -> Group:
        lines = [Text(self._preparation)] if self._preparation else []
        lines += [
            Text(f"  #{number} {order.baseline or order.candidate}: {progress.phase} {_share(progress)}", style="cyan")
            for number, (order, progress) in sorted(self._running.items())
        ]
        if self._search is not None:
            count = f"{self._search.num_finished} of {self._search.num_wanted} trials"
            lines.append(Text(f"{count}, {self._time_left()}", style="bold"))
            lines.append(Text(self._claim))
        return Group(*lines)

    def _time_left(self) -> str:
        assert self._search is not None
        done = self._search.num_finished - self._done_before
        elapsed = time.monotonic() - self._begun
        if done < 2:
            return f"{elapsed:.0f} s so far"
        left = (self._search.num_wanted - self._search.num_finished) * elapsed / done
        return f"about {left:.0f} s left"


def _share(progress: Progress) -> str:
    return f"{progress.done}/{progress.total}" if progress.total else ""

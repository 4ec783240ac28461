"""Live progress of a search: what runs now, trials done, the best front so far, time left."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import IO

from rich.console import Console as Terminal
from rich.console import Group
from rich.live import Live
from rich.text import Text

from flexsearch.cli.typed import as_typed
from flexsearch.errors import NotFiniteError, UserError
from flexsearch.report.claim import claim_so_far
from flexsearch.schedule.run_lengths import run_lengths
from flexsearch.study.events import Ended, Event, Moved, Noted, Started, Watcher
from flexsearch.study.executor import Choice
from flexsearch.study.repeats import OrderQueue
from flexsearch.study.run import Console
from flexsearch.study.run_clock import RunClock
from flexsearch.study.search import Search
from flexsearch.study.settings import SearchSettings
from flexsearch.study.store import TrialRecord
from flexsearch.study.time_left import said
from flexsearch.trial.contract import Progress, TrialOrder
from flexsearch.trial.settings import TrialSettings


class SearchProgress(Console):
    """Show what a search does: a block that is redrawn on a terminal, elsewhere one line per finished trial. Write
    the lines to `run.log`.

    Args:
        terminal: where to print; stderr, so that stdout stays clean.
        settings: of the run's trials.
        search: how many trials.
    """

    def __init__(self, terminal: Terminal, *, settings: TrialSettings, search: SearchSettings) -> None:
        self._terminal = terminal
        self._objectives = settings.objectives.names
        self._clock = RunClock(settings, search)
        self._live: Live | None = None
        self._log: IO[str] | None = None
        self._running: dict[int, tuple[TrialOrder, Progress]] = {}
        self._claim = ""
        self._preparation = ""
        self._what = ""
        self._search: Search | None = None
        self._queue: OrderQueue | None = None

    @contextmanager
    def log_to(self, run_dir: Path) -> Iterator[None]:
        """Draw while the block lasts; `RUN/run.log` is opened with the first news after the run directory is made."""
        self._log_path = run_dir / "run.log"
        if self._terminal.is_terminal:
            self._live = Live(console=self._terminal, refresh_per_second=4, transient=True, get_renderable=self._draw)
        try:
            with self._live or nullcontext():
                yield
        except (UserError, NotFiniteError) as error:
            self._log_line(f"error: {error}")
            raise
        finally:
            if self._log is not None:
                self._log.close()

    def message(self, text: str) -> None:
        self._terminal.print(as_typed(text), highlight=False, soft_wrap=True)
        self._log_line(text)

    def _log_line(self, text: str) -> None:
        if self._log is None and self._log_path.parent.exists():
            self._log = self._log_path.open("a", buffering=1, encoding="utf-8", errors="backslashreplace")
        if self._log is not None:
            self._log.write(f"{datetime.now().isoformat(timespec='seconds')} {text}\n")

    def preparing(self, what: str, done: int, total: int) -> None:
        self._clock.preparing(what, done, total)
        text = f"{what}: {done} of {total}"
        self._preparation = text if done < total else ""
        if self._live is None and (done == 1 or done % max(total // 10, 1) == 0):
            self.message(_listed(text, self._time_left()))

    def searching(self, search: Search, choice: Choice) -> Watcher:
        self._search, self._preparation = search, ""
        self._clock.searching(search, slots=choice.slots or 1)
        at_once = "as many at once as fit" if choice.slots is None else f"{choice.slots} at once"
        self.message(f"searching with the {choice.name} executor, {at_once} ({choice.reason})")
        return self._see

    def repeating(self, orders: OrderQueue, what: str) -> Watcher:
        self._clock.repeating(orders)
        return self._repeating(orders, what)

    def confirming(self, orders: OrderQueue, *, images: int, records: Iterable[TrialRecord]) -> Watcher:
        """Show that trials are measured again with so many images, from what they took before; give the watcher."""
        self._clock.learn(records)
        self._clock.repeating(orders, images=images)
        return self._repeating(orders, "measuring again")

    def _repeating(self, orders: OrderQueue, what: str) -> Watcher:
        self._search, self._queue, self._preparation, self._what = None, orders, "", what
        self.message(_listed(f"{what}: {len(orders)} to do", self._time_left()))
        return self._see

    def _see(self, event: Event) -> None:
        match event:
            case Started(order=order):
                self._running[order.number] = (order, Progress(phase="prepare"))
                self._clock.started(order)
            case Moved(number=number, progress=progress):
                if number in self._running:
                    self._running[number] = (self._running[number][0], progress)
            case Noted(text=text):
                self.message(f"note: {text}")
            case Ended():
                self._ended(event)

    def _ended(self, event: Ended) -> None:
        order, _ = self._running.pop(event.number, (None, None))
        self._clock.ended(event.number, counts=event.state in ("complete", "pruned"))
        name = "" if order is None else f" {_name(order)}"
        repetition = f" seed {order.seed}" if order is not None and order.kind == "repeat" else ""
        found = event.result.measurements if event.result is not None else {}
        shown = ", ".join(f"{name} {found[name].value:.4g}" for name in self._objectives if name in found)
        if self._search is not None and event.state == "complete":
            self._claim = claim_so_far(self._search.records, self._objectives)
        count = "" if self._search is None else f"{self._search.num_finished}/{self._search.num_wanted}"
        count = count if self._queue is None else f"{len(self._queue)} left"
        count = f"[{_listed(count, '' if self._live is not None else self._time_left())}] "
        self.message(
            f"{count}trial {event.number}{name}{repetition}: {event.state} {shown or event.reason or ''}".rstrip()
        )

    def _draw(self) -> Group:
        lines = [
            Text(f"  #{number} {_name(order)}: {progress.phase} {_share(progress)}", style="cyan")
            for number, (order, progress) in sorted(self._running.items())
        ]
        if self._preparation:
            lines.append(Text(_listed(self._preparation, self._time_left()), style="bold"))
        elif self._search is not None:
            count = f"{self._search.num_finished} of {self._search.num_wanted} trials"
            lines.append(Text(_listed(count, self._time_left()), style="bold"))
            lines.append(Text(self._claim))
        elif self._queue is not None:
            lines.append(Text(_listed(f"{self._what}: {len(self._queue)} left", self._time_left()), style="bold"))
        return Group(*lines)

    def _time_left(self) -> str:
        return said(self._clock.left.seconds())


def _listed(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _name(order: TrialOrder) -> str:
    return order.baseline or run_lengths(str(order.candidate))


def _share(progress: Progress) -> str:
    return f"{progress.done}/{progress.total}" if progress.total else ""

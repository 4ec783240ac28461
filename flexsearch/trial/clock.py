"""Say where a trial's time goes, and what of it outlives a kill."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from flexsearch.trial.contract import Phase

_SAVE_EVERY_S = 5.0


class Clock:
    """Wall seconds per phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Count what happens inside to phase `name`."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - begun, 3)


class Meter:
    """Wall seconds of work that may be cut short: every few seconds, and where an error ends it, they are saved.

    Args:
        before: seconds of earlier attempts.
        save: keeps the seconds so far, those before among them.
    """

    def __init__(self, before: float, *, save: Callable[[float], None]) -> None:
        self.before = before
        self._save = save
        self._begun = self._saved = time.monotonic()

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self._begun

    def tick(self) -> None:
        """Save, if the last time is a while ago."""
        if time.monotonic() - self._saved >= _SAVE_EVERY_S:
            self._saved = time.monotonic()
            self._save(round(self.seconds, 3))

    def __enter__(self) -> "Meter":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is not None:
            with suppress(OSError):  # the error that ends the work counts
                self._save(round(self.seconds, 3))

"""Where a trial's time goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from flexsearch.trial.contract import Phase


class Clock:
    """Wall seconds per phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Count what happens inside to phase `name`."""
        begun = time.monotonic()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - begun, 3)

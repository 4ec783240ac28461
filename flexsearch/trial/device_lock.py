"""Whose turn it is on a device: many may work side by side, but who measures time has it to themselves.

A pair of file locks that the operating system frees when a process dies. Workers hold a shared turn for one piece of
work (an update, a sampled batch) and give it back; who measures closes the door first, so that workers cannot slip in
before it, and then waits for those inside.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class DeviceLock:
    """Turns on one device of one machine.

    Args:
        path: prefix of the two lock files; processes that share a device share it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._door: IO[bytes] = open(f"{path}.door", "ab")  # noqa: SIM115 - held as long as the object
        self._room: IO[bytes] = open(f"{path}.room", "ab")  # noqa: SIM115

    @contextmanager
    def shared(self) -> Iterator[None]:
        """A turn beside others. Waits while somebody measures or is about to."""
        fcntl.flock(self._door, fcntl.LOCK_SH)
        fcntl.flock(self._room, fcntl.LOCK_SH)
        fcntl.flock(self._door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._room, fcntl.LOCK_UN)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """The whole device, for measuring time."""
        fcntl.flock(self._door, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._room, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._room, fcntl.LOCK_UN)
        finally:
            fcntl.flock(self._door, fcntl.LOCK_UN)

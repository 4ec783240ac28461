"""Shared and exclusive use of a device: trials train side by side, a latency measurement has the device to itself.

Two file locks that the operating system frees when a process dies. A writer takes `.door` before it waits for `.room`,
so that readers who come later wait behind it. `filelock.ReadWriteLock` does not promise that: in a process with more
than one thread a waiting writer lets go every 50 ms, and readers pass it.
"""

import fcntl
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def this_machine() -> str:
    """Name this machine as every container on it does; where that is not known, as its network does."""
    return _BOOT.read_text(encoding="utf-8").strip() if _BOOT.exists() else platform.node()


@contextmanager
def _locked(file: IO[bytes], mode: int) -> Iterator[None]:
    fcntl.flock(file, mode)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


class DeviceLock:
    """A shared and exclusive lock on the devices of this machine.

    Args:
        path: prefix of the two lock files; processes that share a device share it. Machines that share the folder do
            not wait for each other.
    """

    def __init__(self, path: Path) -> None:
        path = path.with_name(f"{path.name}-{this_machine()}")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._door: IO[bytes] = open(f"{path}.door", "ab")  # noqa: SIM115 - held as long as the object
        self._room: IO[bytes] = open(f"{path}.room", "ab")  # noqa: SIM115

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the device beside others, for an update or a batch. Waits while a measurement runs or waits."""
        with _locked(self._door, fcntl.LOCK_SH):
            fcntl.flock(self._room, fcntl.LOCK_SH)
        try:
            yield
        finally:
            fcntl.flock(self._room, fcntl.LOCK_UN)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the device alone, for a latency measurement. Waits for those who share it."""
        with _locked(self._door, fcntl.LOCK_EX), _locked(self._room, fcntl.LOCK_EX):
            yield

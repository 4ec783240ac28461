"""`flexsearch run`, as a process that is there to be hurt.

It is a fork of this process, which has imported what it needs: it starts in a tenth of a second.
"""

import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

import optuna.storages._rdb.storage  # noqa: F401 - like those below, what a command imports when it runs

import flexsearch.report.plot
import flexsearch.report.table
import flexsearch.study.run
import flexsearch.trial.life
import flexsearch.trial.prepare  # noqa: F401
from flexsearch.cli.app import main


class Driver:
    """Start the command; it prints into a file beside its run directory, and caches beside it. The block kills it."""

    def __init__(self, run_dir: Path, *arguments: str) -> None:
        self.run_dir, self.log = run_dir, run_dir.with_suffix(".log")
        self.status: int | None = None
        self.begun = time.monotonic()
        self._said_before = self.log.stat().st_size if self.log.exists() else 0
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._become(["flexsearch", "run", *arguments, "--run-dir", str(run_dir)])

    def __enter__(self) -> "Driver":
        return self

    def __exit__(self, *_: object) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def _become(self, command: list[str]) -> None:
        code = 1
        try:
            os.setsid()
            log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            for stream in (1, 2):
                os.dup2(log, stream)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.environ["XDG_CACHE_HOME"] = str(self.run_dir.with_suffix(".cache"))
            sys.argv = command
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def ended(self, within_s: float) -> bool:
        """Wait for its end; `status` is then its exit status, or minus the signal that killed it."""
        until = time.monotonic() + within_s
        while self.status is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.status = os.waitstatus_to_exitcode(status)
            elif (left := until - time.monotonic()) > 0:
                time.sleep(min(0.01, left))
            else:
                return False
        return True

    def changes(self) -> tuple[int, ...]:
        """Give a number for each folder, another one whenever a file appears in it or goes."""
        folders = (self.run_dir, self.run_dir / "base", self.run_dir / "trials")
        return tuple(folder.stat().st_mtime_ns if folder.exists() else 0 for folder in folders)

    def last_written(self) -> str | None:
        """Name the file of the run directory that was written last."""
        found: list[tuple[int, str]] = []
        for path in self.run_dir.rglob("*"):
            with suppress(FileNotFoundError):
                found.append((path.stat().st_mtime_ns, str(path.relative_to(self.run_dir))))
        return max(found)[1] if found else None

    @property
    def runs_trials(self) -> bool:
        """Whether it has made, or found, what trials share."""
        return any(words in self._printed() for words in ("searching with", "measuring the noise"))

    def said(self) -> str:
        """Give the last lines that it printed."""
        return " | ".join(self._printed().splitlines()[-4:])

    def _printed(self) -> str:
        return self.log.read_bytes()[self._said_before :].decode(errors="replace") if self.log.exists() else ""

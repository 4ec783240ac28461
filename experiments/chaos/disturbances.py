"""What is done to a search, and when: all of it is drawn from a seed before the search begins."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

KINDS: Mapping[str, Mapping[str, int]] = {
    "local": {"kill": 5, "interrupt": 1, "stop": 2, "cut": 4, "fill": 3},
    "ray": {"kill": 2, "interrupt": 1, "stop": 3, "cut": 1, "fill": 2, "worker": 4, "raylet": 2},
    "postgres": {"server": 4},
}
"""How often each kind comes, by executor, and what a database server adds."""
_KEPT = ("config.yaml", "study.db", "study.db-journal")
"""What no program can make again."""


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """One thing that goes wrong.

    Attributes:
        kind: `kill`, `interrupt` (SIGINT) or `stop` (SIGSTOP, then SIGCONT) a process; `cut` a file after a kill;
            `fill` the disk: files of a process cannot grow; `worker`, `raylet`: kill one; `server`: restart PostgreSQL.
        in_trials: whether it waits until the command runs trials.
        wait: share of the longest wait that follows.
        at_change: whether it then waits for the next change of the run directory, to strike in the middle of it.
        which: of the processes or files there are, as a share of their number.
        size: share of a file that is left, or of the most to which files may grow.
        pause: share of the longest time until what was stopped goes on.
    """

    kind: str
    in_trials: bool
    wait: float
    at_change: bool
    which: float
    size: float
    pause: float


def draw(seed: int, num: int, *, kinds: Mapping[str, int]) -> list[Disturbance]:
    """Draw disturbances; the same seed gives the same."""
    source = random.Random(seed)
    return [
        Disturbance(
            kind=source.choices(list(kinds), weights=list(kinds.values()))[0],
            in_trials=source.random() < 0.75,
            wait=source.random(),
            at_change=source.random() < 0.5,
            which=source.random(),
            size=source.choice((0.0, source.random())),
            pause=source.random(),
        )
        for _ in range(num)
    ]


def cut(run_dir: Path, disturbance: Disturbance) -> dict[str, object]:
    """Cut a file of a run that nobody searches at present: a result, a shared file, a receipt; say which."""
    files = sorted(path for path in run_dir.rglob("*") if path.is_file() and path.name not in _KEPT)
    if not files:
        return {"file": None}
    path = files[int(disturbance.which * len(files))]
    left = int(path.stat().st_size * disturbance.size)
    with path.open("r+b") as file:
        file.truncate(left)
    return {"file": str(path.relative_to(run_dir)), "bytes": left}

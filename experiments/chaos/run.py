"""Chaos: searches that are killed, stopped, interrupted, and robbed of files, disks, workers and databases.

    python experiments/chaos/run.py --seed 0 --disturbances 150
    python experiments/chaos/run.py --seed 0 --disturbances 60 --executor ray
    python experiments/chaos/run.py --seed 0 --disturbances 60 --storage postgres

One small search runs undisturbed, and then again and again, disturbed and resumed, until all disturbances are spent.
Each ledger must be the undisturbed one's. Every second search takes the default policy in place of random candidates:
it goes by latencies, which differ from run to run, so of its ledger only what no ledger may have is looked for. What
was done, when and where, stands in `OUT/disturbances.jsonl`, and how it ended as one row of `chaos.csv` beside this
file. The same seed draws the same disturbances; which write each one meets depends on the machine, too. Exit status 1
where a ledger differs, or a command ends as it should not.
"""

import argparse
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter, deque
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import psutil
from disturbances import KINDS, Disturbance, cut, draw
from driver import Driver
from ledger import FaultKind, differences, faults_of, read_ledger
from servers import Postgres, RayCluster, postgres_server, ray_cluster
from summary import keep

SPACE = Path(__file__).with_name("space.yaml")
TABLE = Path(__file__).with_name("chaos.csv")
DEFAULT_POLICY = ("--set", "search.algorithm=tpe", "--set", "search.startup=2")
LONGEST_WAIT = {"local": 1 / 8, "ray": 1 / 4}
"""Of the time that the undisturbed search takes, on this machine and beside what else it does."""
LONGEST_PAUSE_S = 1.5
HANGS_AFTER_S = 300.0
LARGEST_FILE = 200_000
"""Bytes; the most to which files may still grow on a disk that is about to be full."""
KILLS = ("kill", "cut", "worker", "raylet")
ENDS = {"interrupt": (130, -signal.SIGINT), "fill": (2,), "server": (2,), "raylet": (2,)}
"""Exit statuses, besides 0, that a disturbance explains."""


class Chaos:
    """Searches under disturbances.

    Args:
        out: folder of everything.
        seed: of the search.
        server: the database; None is a file in each run directory.
        cluster: where trials run; None is this machine.
    """

    def __init__(self, out: Path, *, seed: int, server: Postgres | None, cluster: RayCluster | None) -> None:
        self.out, self.seed, self.server, self.cluster = out, seed, server, cluster
        self.executor = "local" if cluster is None else "ray"
        self.storage = None if server is None else server.url
        self.faults: list[str] = []
        self.done: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self.num_searches, self.num_compared = 0, 0
        self.longest_wait_s = 0.0
        self.begun = time.monotonic()

    def whole(self) -> dict[str, Any]:
        """Search undisturbed, in one process and on a file; give the ledger."""
        with Driver(self.out / "whole", str(SPACE), "--seed", str(self.seed), "--executor", "local") as driver:
            driver.ended(HANGS_AFTER_S)
        if driver.status != 0:
            raise RuntimeError(f"the undisturbed search failed: {driver.said()}")
        self.longest_wait_s = LONGEST_WAIT[self.executor] * (time.monotonic() - driver.begun)
        ledger = read_ledger(driver.run_dir, None)
        if found := list(faults_of(ledger)):
            raise RuntimeError(f"the undisturbed search has {found}")
        return ledger

    def search(self, left: deque[Disturbance], whole: dict[str, Any]) -> None:
        """Disturb one search until it is finished; compare its ledger, if it can be compared."""
        is_compared = self.num_searches % 2 == 0
        run_dir = self.out / f"search-{self.num_searches}"
        arguments = [str(SPACE), "--seed", str(self.seed), "--executor", self.executor]
        arguments += ["--set", f"name=chaos-{self.num_searches}"]
        arguments += [] if is_compared else DEFAULT_POLICY
        arguments += [] if self.storage is None else ["--storage", self.storage]
        arguments += [] if self.cluster is None else ["--ray-address", self.cluster.address]
        num_drivers, num_faults, is_finished = 0, len(self.faults), False
        while not is_finished and len(self.faults) < num_faults + 3:
            suffered: list[str] = []
            with Driver(run_dir, *arguments) as driver:
                while left and self._is_due(driver, left[0]):
                    suffered.append(left[0].kind)
                    self._strike(driver, left.popleft())
                driver.ended(HANGS_AFTER_S)
            num_drivers += 1
            is_finished = self._judge(driver, suffered)
        ledger = read_ledger(run_dir, self.storage)
        broken, differing = list(faults_of(ledger)), list(differences(whole, ledger)) if is_compared else []
        self.faults += [f"{run_dir.name}: {one}" for one in (*(fault.text for fault in broken), *differing)]
        self.found.update(fault.kind for fault in broken)
        self.found["ledgers_differ"] += bool(differing)
        self.num_compared += is_compared
        verdict = f"{len(broken)} faults, " + (f"{len(differing)} differences" if is_compared else "the default policy")
        done = f"{num_drivers} drivers, {sum(self.done.values())} disturbances so far"
        print(f"{run_dir.name}: {done}, {time.monotonic() - self.begun:.0f} s; {verdict}", flush=True)
        self.num_searches += 1

    def _is_due(self, driver: Driver, disturbance: Disturbance) -> bool:
        """Wait until a disturbance is due; False where the driver ends before."""
        until = time.monotonic() + HANGS_AFTER_S
        while disturbance.in_trials and not driver.runs_trials and time.monotonic() < until:
            if driver.ended(0.05):
                return False
        if driver.ended(disturbance.wait * self.longest_wait_s):
            return False
        if disturbance.at_change:
            seen, until = driver.changes(), time.monotonic() + 1.0
            while driver.changes() == seen and time.monotonic() < until:
                if driver.ended(0.0005):
                    return False
        return True

    def _strike(self, driver: Driver, disturbance: Disturbance) -> None:
        """Do it, and write down what, when and where."""
        times = {"at_s": time.monotonic() - self.begun, "after_s": time.monotonic() - driver.begun}
        place: dict[str, object] = {name: round(value, 3) for name, value in times.items()}
        place["last_written"] = driver.last_written()
        kind, pause = disturbance.kind, disturbance.pause * LONGEST_PAUSE_S
        targets = self._targets(driver, kind)
        target = targets[int(disturbance.which * len(targets))]
        with suppress(ProcessLookupError, psutil.NoSuchProcess):  # it ended by itself
            place["process"] = "driver" if target.pid == driver.pid else target.name()
            match kind:
                case "kill" | "worker" | "raylet":
                    target.kill()
                case "interrupt":
                    target.send_signal(signal.SIGINT)
                case "stop":
                    target.suspend()
                    time.sleep(pause)
                    target.resume()
                case "cut":
                    target.kill()
                    driver.ended(HANGS_AFTER_S)
                    place |= cut(driver.run_dir, disturbance)
                case "fill":
                    place["bytes"] = most = int(disturbance.size * LARGEST_FILE)
                    _, hard = resource.prlimit(target.pid, resource.RLIMIT_FSIZE)
                    resource.prlimit(target.pid, resource.RLIMIT_FSIZE, (most, hard))
                    driver.ended(2 * pause)
                    resource.prlimit(target.pid, resource.RLIMIT_FSIZE, (hard, hard))
        if kind == "server" and self.server is not None:
            self.server.control("stop", "-m", "immediate" if disturbance.size else "fast")
            time.sleep(pause)
            self.server.control("start")
        if kind == "raylet" and self.cluster is not None:
            self.cluster.add_worker()
        self.done[kind] += 1
        line = {"number": sum(self.done.values()), "search": driver.run_dir.name, **asdict(disturbance), **place}
        with (self.out / "disturbances.jsonl").open("a") as lines:
            lines.write(json.dumps(line) + "\n")

    def _targets(self, driver: Driver, kind: str) -> list[psutil.Process]:
        """List the processes that a kind of disturbance may hit."""
        own = [psutil.Process(driver.pid)]
        workers = [] if self.cluster is None else self.cluster.trial_processes()
        raylets = [] if self.cluster is None else self.cluster.raylets()
        others = {"worker": workers, "raylet": raylets}
        return others.get(kind) or own + (workers if kind in ("stop", "fill") else []) + (
            raylets if kind == "stop" else []
        )

    def _judge(self, driver: Driver, suffered: list[str]) -> bool:
        """Whether the search is finished; notes an end that nothing explains."""
        explained = {0, *(status for kind in suffered for status in ENDS.get(kind, ()))}
        explained |= {-signal.SIGKILL} if set(KILLS) & set(suffered) else set()
        if driver.status not in explained:
            end = "hangs" if driver.status is None else f"ended with {driver.status}"
            self.faults.append(f"{driver.run_dir.name}: a driver {end} after {suffered}: {driver.said()}")
        return driver.status == 0

    def row(self) -> dict[str, object]:
        """Sum up what was done and what was found."""
        return {
            "seed": self.seed,
            "executor": self.executor,
            "storage": "sqlite" if self.server is None else "postgres",
            "disturbances": sum(self.done.values()),
            **{kind: self.done[kind] for kinds in KINDS.values() for kind in kinds},
            "searches": self.num_searches,
            "compared": self.num_compared,
            **{kind: self.found[kind] for kind in (*get_args(FaultKind), "ledgers_differ")},
            "faults": len(self.faults),
            "seconds": round(time.monotonic() - self.begun),
        }


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the search and of what is done to it")
    parser.add_argument("--disturbances", type=int, default=150)
    parser.add_argument("--storage", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--executor", choices=("local", "ray"), default="local")
    parser.add_argument("--out", type=Path, help="a new folder; default one in the temporary folder")
    arguments = parser.parse_args()
    out = arguments.out or Path(tempfile.mkdtemp(prefix="fs-chaos-"))
    out.mkdir(parents=True, exist_ok=True)
    kinds = {**KINDS[arguments.executor], **(KINDS["postgres"] if arguments.storage == "postgres" else {})}
    left = deque(draw(arguments.seed, arguments.disturbances, kinds=kinds))
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server()) if arguments.storage == "postgres" else None
        cluster = stack.enter_context(ray_cluster()) if arguments.executor == "ray" else None
        os.environ.update({} if cluster is None else cluster.environment)
        chaos = Chaos(out, seed=arguments.seed, server=server, cluster=cluster)
        whole = chaos.whole()
        print(f"in {out}; undisturbed the search takes {time.monotonic() - chaos.begun:.1f} s", flush=True)
        while left:
            chaos.search(left, whole)
    kinds_done = ", ".join(f"{num} {kind}" for kind, num in sorted(chaos.done.items()))
    print(f"{sum(chaos.done.values())} disturbances of {chaos.num_searches} searches: {kinds_done}")
    print(f"{len(chaos.faults)} faults", *chaos.faults, sep="\n")
    keep(chaos.row(), TABLE)
    return 1 if chaos.faults else 0


if __name__ == "__main__":
    sys.exit(run())

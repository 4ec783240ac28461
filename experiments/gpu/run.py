"""Make the most of some minutes of one GPU: every measurement that only a GPU can give, in the order of its worth.

    python experiments/gpu/run.py --minutes 9 --out /tmp/gpu                     # one H100 or H200
    python experiments/gpu/run.py --toy --device cpu --out /tmp/toy              # a rehearsal; its numbers mean nothing
    python experiments/gpu/run.py --stages blocks --device cpu --dtype fp32 --batch 1 --modes eager --out DIR

Stages, each in a box of time, which grows with the minutes and with what earlier stages leave: `check` (the tests
marked gpu), `blocks` (roles, axes and the paper's schedules against what multiply-accumulates allow), `search` (a base,
its warm start, a search, its confirmation), `profile` (the error of composed latency), `cached` (a dense step against
one that reuses blocks, on FLUX.1-dev and Wan2.1-1.3B), `free` (the search without training). A stage that does not fit
is skipped; one that fails or is cut short costs nothing but itself. As soon as it ends its table, its picture and its
entry in OUT/log.md are there: at most 8 files. Weights, runs and compiled kernels lie in OUT/scratch. Neither network
nor Ray is needed.
"""

import argparse
import importlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from stages.box import Box, Entry

MODELS = ("dit_b_256", "dit_xl_256", "dit_xl_512", "pixart_256", "latte_512")
GRACE_S = 15
"""After its box a stage has so long to write what it found, before it is killed; kept back from the minutes."""
SUMMARY_LINES = 60


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What is run, and for how long.

    Attributes:
        name: of the module in `stages/`.
        seconds: its share of the time, in 600 seconds.
        least: below so many seconds it is skipped.
    """

    name: str
    seconds: float
    least: float


STAGES = (
    Stage(name="check", seconds=40, least=20),
    Stage(name="blocks", seconds=100, least=40),
    Stage(name="search", seconds=300, least=150),
    Stage(name="profile", seconds=40, least=20),
    Stage(name="cached", seconds=60, least=30),
    Stage(name="free", seconds=60, least=25),
)

Execute = Callable[[str, Box], Entry]


class Failed(Exception):
    """A stage ended without an entry; says why."""


def walk(
    stages: Sequence[Stage],
    execute: Execute,
    *,
    box_of: Callable[[float], Box],
    ends_at: float,
    now: Callable[[], float] = time.monotonic,
    heading: str,
) -> list[str]:
    """Run stages one after the other; after each the log is on the disk.

    Args:
        stages: in the order of their worth.
        execute: runs one in a box.
        box_of: gives a box of so many seconds, which begins now.
        ends_at: by the clock `now`, when all must be over.
        now: the clock.
        heading: of the log and the summary.

    Returns:
        The summary, at most 60 lines.
    """
    summary, entries = [heading], []
    for index, stage in enumerate(stages):
        left, begun = ends_at - now(), now()
        box = box_of(left * stage.seconds / sum(one.seconds for one in stages[index:]))
        if box.seconds < stage.least:
            said = f"skipped: {box.seconds:.0f} s are left for it, and it needs {stage.least:.0f} s"
            summary += ["", f"{stage.name}: {said}"]
            entries.append(f"## {date.today()}: {stage.name} on a GPU, {said}\n")
        else:
            print(f"{stage.name}: begins, {box.seconds:.0f} s", file=sys.stderr, flush=True)
            try:
                entry, took = execute(stage.name, box), ""
            except Failed as error:
                reason = str(error).strip()
                entry = Entry(lines=[reason.splitlines()[-1][:200]], log=f"Failed.\n\n```\n{reason[-3000:]}\n```")
                took = "FAILED after "
            took += f"{now() - begun:.0f} of {box.seconds:.0f} s"
            summary += ["", f"{stage.name}: {took}", *(f"  {line}" for line in entry.lines[:10])]
            entries.append(f"## {date.today()}: {stage.name} on a GPU ({took})\n\n{entry.log}\n")
        (box.out / "log.md").write_text(f"{heading}\n\n" + "\n".join(entries))
    return summary[:SUMMARY_LINES]


class Worker:
    """A process that runs stages one after the other, and is started again when one has failed.

    A fault of the device, of memory or of a compiler ends one stage.
    """

    def __init__(self) -> None:
        self._process: Any = None
        self._pipe: Any = None
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=False)
        self._process.start()
        theirs.close()

    def execute(self, name: str, box: Box) -> Entry:
        """Run a stage.

        Raises:
            Failed: it raised, died, or was killed some seconds after its box.
        """
        said: str | Entry
        try:
            self._pipe.send((name, box))
            ended = self._pipe.poll(max(box.left, 0) + GRACE_S)
            said = self._pipe.recv() if ended else f"killed {GRACE_S} s after its box of {box.seconds:.0f} s"
        except (EOFError, OSError):
            self._process.join(5)
            said = f"its process died with status {self._process.exitcode}"
        if isinstance(said, Entry):
            return said
        self.close()
        self._start()
        raise Failed(said)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _serve(pipe: Connection) -> None:
    """Run stages as they are sent; each loads its libraries in the main thread, as the profiler needs it."""
    while True:
        name, box = pipe.recv()
        try:
            said = importlib.import_module(f"stages.{name}").run(box)
        except BaseException:
            said = traceback.format_exc()
        pipe.send(said)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9, help="of the whole command, 8 to 60")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--toy", action="store_true", help="the smallest sizes: checks the script, measures nothing")
    names = [one.name for one in STAGES]
    parser.add_argument("--stages", nargs="+", choices=names, default=names, metavar="STAGE", help=", ".join(names))
    blocks = parser.add_argument_group("of the stage blocks")
    blocks.add_argument(
        "--models",
        nargs="+",
        choices=MODELS,
        default=["dit_xl_512", "dit_xl_256"],
        metavar="MODEL",
        help=", ".join(MODELS),
    )
    blocks.add_argument("--batch", type=int, nargs="+", default=[32, 8], help="images together, the most worthy first")
    blocks.add_argument("--dtype", choices=("bf16", "fp32"), default="bf16")
    blocks.add_argument("--modes", nargs="+", choices=("eager", "compiled"), default=["eager", "compiled"])
    return parser.parse_args()


def main() -> None:
    begun, chosen = time.monotonic(), arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the worker, too
    out = chosen.out.resolve()
    scratch = out / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    places = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton", "XDG_CACHE_HOME": "cache"}
    os.environ.update({name: str(scratch / folder) for name, folder in places.items()})
    if chosen.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    options = {name: getattr(chosen, name) for name in ("models", "batch", "dtype", "modes")}

    def box_of(seconds: float) -> Box:
        return Box(
            seconds=seconds,
            out=out,
            scratch=scratch,
            device=chosen.device,
            is_toy=chosen.toy,
            options=options,
            begun=time.monotonic(),
        )

    worker = Worker()
    try:
        summary = walk(
            [one for one in STAGES if one.name in chosen.stages],
            worker.execute,
            box_of=box_of,
            ends_at=begun + 60 * chosen.minutes - GRACE_S,
            heading="TOY SIZES: these numbers mean nothing."
            if chosen.toy
            else f"{chosen.minutes:g} minutes of one GPU.",
        )
    finally:
        worker.close()
    print("\n".join([*summary, f"{time.monotonic() - begun:.0f} s in all; everything is in {out}"]))


if __name__ == "__main__":
    main()

"""Mutated files through the command line: `python experiments/fuzz/run.py [--mutants 2500]` prints a table.

Right is exit status 0 or 2, no traceback, no line over 300 characters, no command over 10 seconds. The mutants are
those of `mutants.py`: a failing seed replays with `--only KIND --seed SEED`.
"""

import argparse
import contextlib
import io
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from mutants import mutate

from flexsearch.cli.app import main

ROOT = Path(__file__).parents[2]

LIMIT_S = 10
OLD = ROOT / "tests" / "golden" / "old_run"


class Hang(BaseException):
    """A command took longer than it may."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of mutant.

    Attributes:
        share: of all mutants.
        source: the folder whose files are mutated, one at a time.
        files: below it.
        command: what reads them; FOLDER and FILE stand for the copy.
    """

    share: float
    source: Path
    files: tuple[str, ...]
    command: tuple[str, ...]


def kinds() -> dict[str, Kind]:
    """Give what is mutated."""
    draw = ("sample", "FOLDER", "--out", "FOLDER/x.png", "--num", "1", "--steps", "1")
    spaces = tuple(sorted(path.name for path in (ROOT / "search_spaces").glob("*.yaml")))
    inner = ("config.json", "diffusion_pytorch_model.safetensors")
    parts = tuple(f"transformer/{name}" for name in inner)
    return {
        "spaces": Kind(share=0.4, source=ROOT / "search_spaces", files=spaces, command=("plan", "FILE", "--json")),
        "recipes": Kind(share=0.2, source=OLD / "exported", files=("recipe.yaml",), command=draw),
        "exported": Kind(
            share=0.2,
            source=OLD / "exported",
            files=("candidate.json", "scheduler/scheduler_config.json", *parts),
            command=draw,
        ),
        "runs": Kind(share=0.1, source=OLD / "run", files=("config.yaml",), command=("front", "FOLDER", "--json")),
        "databases": Kind(share=0.1, source=OLD / "run", files=("study.db",), command=("front", "FOLDER", "--json")),
    }


def call(arguments: tuple[str, ...], *, limit_s: int = LIMIT_S) -> tuple[int | str, str, float]:
    """Run a command in this process; give its status, what it printed on stderr, and its seconds."""

    def hang(*_: object) -> None:
        raise Hang

    printed, begun = io.StringIO(), time.monotonic()
    signal.signal(signal.SIGALRM, hang)
    signal.alarm(limit_s)
    status: int | str = "none"
    try:
        with (
            patch.object(sys, "argv", ["flexsearch", *arguments]),
            contextlib.redirect_stderr(printed),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            main()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException as error:
        status = type(error).__name__
    finally:
        signal.alarm(0)
    return status, printed.getvalue(), time.monotonic() - begun


def outcomes(kind: Kind, seeds: range, folder: Path) -> Iterator[tuple[int, int | str, str, float]]:
    """Go through mutants of a kind: seed, status, stderr, seconds."""
    for seed in seeds:
        copy = folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(kind.source, copy)
        file = copy / kind.files[seed % len(kind.files)]
        file.write_bytes(mutate(file.read_bytes(), seed))
        arguments = (part.replace("FOLDER", str(copy)).replace("FILE", str(file)) for part in kind.command)
        yield seed, *call(tuple(arguments))


def run() -> None:
    """Print a line for every wrong outcome, and the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mutants", type=int, default=2500)
    parser.add_argument("--only")
    parser.add_argument("--seed", type=int)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    os.chdir(OLD)  # the base is named from there
    shutil.copytree(OLD / "run", folder / "run")  # which is brought to today's tables
    for command in (("front", str(folder / "run")), ("sample", "exported", "--out", str(folder / "x.png"))):
        status, text, _ = call(command, limit_s=0)  # imports everything
        assert status == 0, text
    print("| kind | mutants | exit 0 | exit 2 | wrong | longest line | slowest, s |\n|---|---|---|---|---|---|---|")
    for name, kind in kinds().items():
        if given.only not in (None, name):
            continue
        num = round(given.mutants * kind.share)
        seeds = range(num) if given.seed is None else range(given.seed, given.seed + 1)
        found, wrong = [], 0
        for seed, status, text, seconds in outcomes(kind, seeds, folder):
            longest = max(map(len, text.splitlines()), default=0)
            found.append((status, longest, seconds))
            if status not in (0, 2) or longest > 300 or "Traceback" in text or seconds > LIMIT_S:
                wrong += 1
                print(f"{name} {seed}: {status} in {seconds:.1f} s: {text[:400]}", file=sys.stderr, flush=True)
        counts = [sum(status == code for status, _, _ in found) for code in (0, 2)]
        slowest = max(seconds for _, _, seconds in found)
        longest = max(longest for _, longest, _ in found)
        print(
            f"| {name} | {len(found)} | {counts[0]} | {counts[1]} | {wrong} | {longest} | {slowest:.1f} |", flush=True
        )
    shutil.rmtree(folder)


if __name__ == "__main__":
    run()

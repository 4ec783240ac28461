"""A real search on a real GPU: does it find schedules that dominate the paper's layout and dense at fewer steps?

    uv run python experiments/gpu_search/run.py                                    # one H100, 85 minutes (estimate)
    uv run python experiments/gpu_search/run.py --sizes short --sitting-minutes 9  # narrower base, 25 (estimate)
    uv run python experiments/gpu_search/run.py --smoke --images FOLDER            # two CPU cores: checks the script

Stages: `base` trains the 32x32 base of search_spaces/fashion_mnist.yaml, `search` makes its warm start and runs 100
trials one after the other (no Ray), `confirm` measures the front again on fresh noise, `answer` compares (answer.py)
and writes STATE/results/: answer.json, front.csv, front.png, log_entry.md.

It works in sittings. With `--sitting-minutes 9` the work is interrupted after 9 minutes and the command ends within the
tenth (exit status 130). The same command goes on, on the same machine or, with the folder STATE copied there, on
another with the same device (another device is refused: latencies would not compare). That loses no update of the base
or the warm start, and at most one trial. STATE/ledger.csv counts every second of every sitting as device time, start-up
and interrupted work included.

No network is needed: `--images` takes the folder with Fashion-MNIST's four `.gz` files (31 MB, e.g. Debian's package
`dataset-fashion-mnist`: /usr/share/datasets/fashion-mnist). Without it torchvision downloads them.

How large STATE gets. While base or warm start train, their checkpoint is four times the weights in fp32: 520 and 553 MB
for the full base (32.5 M parameters), 232 and 246 MB for `short` (14.5 M). After that: the base (141 and 64 MB), the
warm start (138 and 62 MB) and a model (130 and 58 MB) per trial that may still be on the front; at the end of a sitting
the others are removed, with everything that is made again in seconds. So the full search is carried as some GB, and one
that must fit into tens of MB is not carried in the middle at all: take the sittings one after the other on one machine,
and then only STATE/results, STATE/ledger.csv and STATE/run/study.db.

How long it takes is an estimate (estimate.py, `--estimate`): multiply-accumulates over an assumed 100 TFLOP/s, an
eighth of an H100's bf16 matrix rate. Nothing of it was measured on a GPU.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from sitting import INTERRUPTED, Ledger, Sitting

from flexsearch.errors import UserError
from flexsearch.files import write_atomically

# Everything that imports torch waits until the clock runs.

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SPACE = ROOT / "search_spaces" / "fashion_mnist.yaml"
STAGES = ("base", "search", "confirm", "answer")
PLACES = {"base.checkpoint": "base", "data.root": "data"}  # below STATE, where commands run


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large everything is.

    Attributes:
        overrides: of the search space's fields.
        confirm_images: per candidate and seed.
        confirm_seeds: fresh seeds.
        is_smoke_test: whether the numbers mean nothing.
    """

    overrides: dict[str, Any]
    confirm_images: int = 5000
    confirm_seeds: int = 5
    is_smoke_test: bool = False

    @classmethod
    def read(cls, name: str) -> "Sizes":
        """`full` is the search space as it is; another name is a file beside this script."""
        return cls(overrides={}) if name == "full" else cls(**yaml.safe_load((HERE / f"{name}.yaml").read_text()))

    def options(self) -> list[str]:
        """For `flexsearch pretrain` and `flexsearch run`."""
        values = {**self.overrides, **PLACES}
        return [option for key, value in values.items() for option in ("--set", f"{key}={json.dumps(value)}")]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, default=Path("runs/gpu_search"), help="the folder that goes on")
    parser.add_argument("--images", type=Path, help="folder with Fashion-MNIST's .gz files; default: download")
    parser.add_argument("--sitting-minutes", type=float, help="stop before this is over; default: run to the end")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--sizes", choices=("full", "short", "smoke"), default="full")
    parser.add_argument("--smoke", action="store_const", const="smoke", dest="sizes", help="same as --sizes smoke")
    parser.add_argument("--estimate", action="store_true", help="print how long it may take, and do nothing")
    parser.add_argument("--tflops", type=float, default=100.0, help="the rate that --estimate assumes")
    return parser.parse_args()


def main() -> int:
    begun, chosen = time.monotonic(), arguments()
    state, sizes = chosen.state.resolve(), Sizes.read(chosen.sizes)
    if chosen.estimate:
        print_estimate(sizes, tflops=chosen.tflops)
        return 0
    check_same_sizes(state, sizes)
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(state / "cache"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    if "confirm" in chosen.stages:
        check_command("confirm", environment)
    ledger = Ledger(state / "ledger.csv")
    sitting = Sitting(
        number=max((entry.sitting for entry in ledger.entries), default=0) + 1,
        begun_at=begun,
        ends_at=begun + 60 * chosen.sitting_minutes if chosen.sitting_minutes else float("inf"),
        device=this_device(),
        folder=state,
        environment=environment,
    )
    try:
        if chosen.images is not None:
            from state import unpack_images

            unpack_images(chosen.images, state)
        for stage in chosen.stages:
            if stage == "answer":
                sitting.count_the_rest(ledger)
                write_answer(state, sizes, ledger)
            elif not ledger.is_done(stage) and not sitting.run(stage, command_of(stage, sizes), ledger):
                print(f"the sitting is over in stage {stage}: the same command goes on", file=sys.stderr)
                return INTERRUPTED
    finally:
        tidy(state, images_come_again=chosen.images is not None)
        sitting.count_the_rest(ledger)
    return 0


def this_device() -> str:
    """The name of the device that trials run on."""
    from flexsearch.objectives.latency import device_name
    from flexsearch.trial.inputs import trial_device

    return device_name(trial_device())


def command_of(stage: str, sizes: Sizes) -> list[str]:
    """The command line of a stage, run inside STATE."""
    flexsearch = [sys.executable, "-m", "flexsearch"]
    if stage == "base":
        return [*flexsearch, "pretrain", str(SPACE), *sizes.options()]
    if stage == "search":
        return [*flexsearch, "run", str(SPACE), "--run-dir", "run", "--executor", "local", *sizes.options()]
    images, seeds = str(sizes.confirm_images), str(sizes.confirm_seeds)
    return [*flexsearch, "confirm", "run", "--images", images, "--seeds", seeds]


def check_command(name: str, environment: dict[str, str]) -> None:
    """Whether this flexsearch has a command, asked before any device time is spent.

    Raises:
        UserError: it does not.
    """
    asked = [sys.executable, "-m", "flexsearch", name, "--help"]
    if subprocess.run(asked, env=environment, capture_output=True).returncode:
        raise UserError(f"this flexsearch has no command {name!r}", field="--stages", nearest="base search answer")


def check_same_sizes(state: Path, sizes: Sizes) -> None:
    """Notes the sizes in STATE, or compares them with what is noted.

    Raises:
        UserError: STATE was begun with others.
    """
    path, now = state / "sizes.json", json.dumps(vars(sizes), indent=2, sort_keys=True)
    if path.exists() and path.read_text() != now:
        raise UserError(f"was begun with other sizes ({path}); take another folder", field=f"--state {state}")
    write_atomically(path, now)


def write_answer(state: Path, sizes: Sizes, ledger: Ledger) -> None:
    """Answers from the confirmation, or without one from what the search saw."""
    from answer import answer
    from evidence import evidence_of
    from results import write_results

    from flexsearch.cli.results import front_of_run, open_run

    run = open_run(state / "run")
    front = front_of_run(run)
    images = sizes.confirm_images if ledger.is_done("confirm") else None
    write_results(
        answer(evidence_of(run, front, images=images)),
        state / "results",
        device_s=ledger.seconds(),
        counts=front.counts,
        device=ledger.entries[-1].device,
        small=sizes.is_smoke_test,
    )
    print((state / "results" / "log_entry.md").read_text())


def tidy(state: Path, *, images_come_again: bool) -> None:
    """Makes STATE as small as it can be, and says how large it is."""
    from state import described, prune, sizes_mib

    from flexsearch.cli.results import front_of_run, open_run

    front = front_of_run(open_run(state / "run")) if (state / "run" / "config.yaml").exists() else None
    before = sizes_mib(state)
    prune(state, front, images_come_again=images_come_again)
    print(f"{state}: {described(sizes_mib(state))}; before pruning {described(before)}", file=sys.stderr)


def print_estimate(sizes: Sizes, *, tflops: float) -> None:
    """Prints the minutes that every stage may take."""
    from estimate import estimate_s

    from flexsearch.config import load_config

    config = load_config(SPACE, sizes.options()[1::2])
    seconds = estimate_s(config, confirm_images=sizes.confirm_images, confirm_seeds=sizes.confirm_seeds, tflops=tflops)
    for stage, one in seconds.items():
        print(f"{stage:12} {one / 60:6.1f} min")
    print(f"{'in all':12} {sum(seconds.values()) / 60:6.1f} min at an assumed {tflops:.0f} TFLOP/s (an estimate)")


def interruptible() -> None:
    """Interrupts are heard also where a shell's background job ignores them, and a polite kill is one."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


if __name__ == "__main__":
    interruptible()
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on", file=sys.stderr)
        sys.exit(INTERRUPTED)

"""Training that is not lost: a checkpoint every so often, and one more before an interrupt."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch

from flexsearch.diffusion.training import Step, Training
from flexsearch.files import replacing


def train_resumably(training: Training, checkpoint: Path, *, save_every: int, report: Callable[[Step], None]) -> None:
    """Trains to the last update, from `checkpoint` if it is there. The caller removes it once its own file is whole.

    Args:
        training: the run.
        checkpoint: file that holds the run's state: four times the weights, in their own precision.
        save_every: updates between two checkpoints; what a crash can lose.
        report: called after every update.

    Raises:
        KeyboardInterrupt: after the update that was being done, which is saved.
    """
    if checkpoint.exists():
        training.load_state_dict(torch.load(checkpoint, weights_only=True))
    with held_interrupt() as interrupted:
        for step in training.run():
            report(step)
            if interrupted() or (step.update % save_every == 0 and step.update < training.optimisation.updates):
                with replacing(checkpoint) as temporary:
                    torch.save(training.state_dict(), temporary)
            if interrupted():
                raise KeyboardInterrupt


@contextmanager
def held_interrupt() -> Iterator[Callable[[], bool]]:
    """Holds back the first interrupt (SIGINT): the block asks whether there was one. A second one comes at once.

    Where interrupts are ignored, and outside of the main thread, where Python takes none, nothing is held.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield lambda: False
        return
    seen = threading.Event()

    def hold(_: int, __: FrameType | None) -> None:
        if seen.is_set():
            raise KeyboardInterrupt
        seen.set()

    before = signal.signal(signal.SIGINT, hold)
    try:
        yield seen.is_set
    finally:
        signal.signal(signal.SIGINT, before)

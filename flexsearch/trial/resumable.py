"""Training that is not lost: a checkpoint every so often, and one more before an interrupt."""

import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any
from zipfile import ZipFile

import torch

from flexsearch.diffusion.training import Step, Training
from flexsearch.errors import Note, UserError, reading
from flexsearch.files import replacing


def train_resumably(training: Training, checkpoint: Path, *, save_every: int, report: Callable[[Step], None]) -> None:
    """Train to the last update, from `checkpoint` if it is there. The caller removes it once its own file is whole.

    Args:
        training: the run.
        checkpoint: file that holds the run's state: four times the weights, in their own precision.
        save_every: updates between two checkpoints; what a crash can lose.
        report: called after every update.

    Raises:
        NotFiniteError: the loss or the weights are not finite any more; the checkpoint is the last one before that.
        KeyboardInterrupt: after the update that was being done, which is saved.
    """
    resume(training, checkpoint)
    train_on(training, checkpoint, save_every=save_every, report=report)


def resume(training: Training, checkpoint: Path) -> int:
    """Take up the state in `checkpoint` if it is there; give the number of updates done. One that is damaged is put
    aside.

    Raises:
        UserError: it is of another training.
    """
    if not checkpoint.exists():
        return training.num_done
    try:
        with reading(checkpoint, rule="is damaged", advice="training starts over"):
            state = _whole(checkpoint)
    except UserError as error:
        with suppress(FileNotFoundError):  # another process of the same training was faster
            checkpoint.replace(checkpoint.with_suffix(".damaged"))
        warnings.warn(str(error), Note, stacklevel=2)
        return training.num_done
    with reading(checkpoint, rule="is of another training", advice="delete it to start over"):
        training.load_state_dict(state)
    return training.num_done


def _whole(checkpoint: Path) -> dict[str, Any]:
    """Read a checkpoint whose parts have the checksums that were written with them: torch reads any."""
    with ZipFile(checkpoint) as archive:
        if (part := archive.testzip()) is not None:
            raise ValueError(f"{part} has another checksum")
    state: dict[str, Any] = torch.load(checkpoint, weights_only=True, map_location="cpu")
    return state


def train_on(training: Training, checkpoint: Path, *, save_every: int, report: Callable[[Step], None]) -> None:
    """Train to the last update from wherever the run is, with checkpoints, as `train_resumably` does.

    Of several processes the first one writes, and an interrupt of one stops them all after the same update.
    """
    with held_interrupt() as interrupted:
        for step in training.run():
            report(step)
            stops = training.share.any_process(interrupted())
            is_last = step.update == training.optimisation.updates
            is_due = step.update % save_every == 0 and not is_last
            if stops or is_due or is_last:
                training.check_weights()
            if (stops or is_due) and training.share.rank == 0:
                # Into a file of Python's, which says what the disk refuses: torch's own says "unexpected pos".
                with replacing(checkpoint) as temporary, temporary.open("wb") as file:
                    torch.save(training.state_dict(), file)
            if stops:
                raise KeyboardInterrupt


@contextmanager
def held_interrupt() -> Iterator[Callable[[], bool]]:
    """Hold back the first interrupt (SIGINT): the block asks whether there was one. A second one comes at once.

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

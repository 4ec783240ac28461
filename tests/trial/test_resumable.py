"""Training that is interrupted: the update that was being done is saved, and a second interrupt does not wait."""

import io
import os
import pickle
import resource
import signal
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
from diffusers import DiTTransformer2DModel

from flexsearch.data.embedded import load_quickstart
from flexsearch.diffusion.batches import BatchStream
from flexsearch.diffusion.optimisation import Optimisation
from flexsearch.diffusion.process import FlowMatching
from flexsearch.diffusion.training import Step, Training
from flexsearch.errors import Note, UserError
from flexsearch.files import disk_fault
from flexsearch.models.flexdit import FlexDiT
from flexsearch.trial.resumable import held_interrupt, resume, train_resumably


@pytest.fixture(autouse=True)
def _interrupts_are_heard() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore them


def training(base: DiTTransformer2DModel) -> Training:
    return Training(
        FlexDiT.from_base(base).clone(),
        process=FlowMatching(),
        stream=BatchStream(data=load_quickstart(), batch=4, seed=0),
        optimisation=Optimisation(updates=5, learning_rate=1e-2, ema_decay=0.5),
    )


def test_an_interrupt_loses_no_update(tiny_base: DiTTransformer2DModel, tmp_path: Path) -> None:
    whole, checkpoint = training(tiny_base), tmp_path / "training.checkpoint"
    losses: list[float] = []
    train_resumably(whole, tmp_path / "none", save_every=100, report=lambda step: losses.append(step.loss))
    assert not (tmp_path / "none").exists()
    seen: list[Step] = []

    def press_once(step: Step) -> None:
        seen.append(step)
        if step.update == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_resumably(training(tiny_base), checkpoint, save_every=100, report=press_once)
    assert torch.load(checkpoint, weights_only=True)["num_done"] == 3
    second = training(tiny_base)
    train_resumably(second, checkpoint, save_every=100, report=seen.append)
    assert [step.update for step in seen] == [1, 2, 3, 4, 5]
    assert [step.loss for step in seen] == losses
    for one, other in zip(whole.averaged.parameters(), second.averaged.parameters(), strict=True):
        assert torch.equal(one, other)


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_a_checkpoint_that_finds_no_room_is_the_disks_fault(tiny_base: DiTTransformer2DModel, tmp_path: Path) -> None:
    checkpoint = tmp_path / "training.checkpoint"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(RuntimeError) as raised:
            train_resumably(training(tiny_base), checkpoint, save_every=1, report=lambda _: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert disk_fault(raised.value) == "File too large"
    assert list(tmp_path.iterdir()) == [], "no half of a checkpoint is left"


def flipped(checkpoint: bytes) -> bytes:
    """A checkpoint with one bit of its first tensor changed."""
    with ZipFile(io.BytesIO(checkpoint)) as archive:
        tensor = next(one for one in archive.infolist() if one.filename.endswith("data/0"))
    place = tensor.header_offset + 30 + len(tensor.filename) + 64 + tensor.file_size // 2
    return checkpoint[:place] + bytes([checkpoint[place] ^ 1]) + checkpoint[place + 1 :]


@pytest.mark.parametrize("kind", ["empty", "cut", "text", "foreign", "a bit of the weights"])
def test_a_damaged_checkpoint_is_put_aside_and_training_starts_over(
    tiny_base: DiTTransformer2DModel, tmp_path: Path, kind: str
) -> None:
    checkpoint, begun = tmp_path / "training.checkpoint", training(tiny_base)
    torch.save(begun.state_dict(), checkpoint)
    whole = checkpoint.read_bytes()
    contents = {"empty": b"", "cut": whole[:-100], "text": b"no checkpoint", "a bit of the weights": flipped(whole)}
    left = contents.get(kind, pickle.dumps(Hostile(tmp_path / "made")))
    checkpoint.write_bytes(left)
    with pytest.warns(Note, match=r"training\.checkpoint: is damaged \(.*\); training starts over"):
        assert resume(begun, checkpoint) == 0
    assert not checkpoint.exists()
    assert checkpoint.with_suffix(".damaged").read_bytes() == left
    assert not (tmp_path / "made").exists()


def test_a_checkpoint_of_another_training_is_named_and_kept(tiny_base: DiTTransformer2DModel, tmp_path: Path) -> None:
    checkpoint = tmp_path / "training.checkpoint"
    for other in ({"num_done": 3}, [1, 2], torch.zeros(3)):
        torch.save(other, checkpoint)
        with pytest.raises(
            UserError, match=r"training\.checkpoint: is of another training \(.*delete it to start over"
        ):
            resume(training(tiny_base), checkpoint)
        assert checkpoint.exists()


def test_a_second_interrupt_does_not_wait() -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), held_interrupt() as interrupted:  # noqa: PT012
        assert not interrupted()
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupted()
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is handler


def test_where_interrupts_are_ignored_they_stay_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_interrupt() as interrupted:
            os.kill(os.getpid(), signal.SIGINT)
            assert not interrupted()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)

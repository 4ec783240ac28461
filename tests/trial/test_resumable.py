"""Training that is interrupted: the update that was being done is saved, and a second interrupt does not wait."""

import os
import signal
from pathlib import Path

import pytest
import torch
from diffusers import DiTTransformer2DModel

from flexsearch.data.embedded import load_quickstart
from flexsearch.diffusion.batches import BatchStream
from flexsearch.diffusion.optimisation import Optimisation
from flexsearch.diffusion.process import FlowMatching
from flexsearch.diffusion.training import Step, Training
from flexsearch.models.flexdit import FlexDiT
from flexsearch.trial.resumable import held_interrupt, train_resumably


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

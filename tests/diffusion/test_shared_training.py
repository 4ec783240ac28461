"""Several processes that train together, here threads of one: they stay equal, and equal to one process alone."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch
from diffusers import DiTTransformer2DModel
from torch import Tensor

from flexsearch.data.embedded import load_quickstart
from flexsearch.diffusion import share as share_module
from flexsearch.diffusion.batches import BatchStream
from flexsearch.diffusion.optimisation import Optimisation
from flexsearch.diffusion.process import FlowMatching
from flexsearch.diffusion.share import Share
from flexsearch.diffusion.training import Step, Training
from flexsearch.errors import UserError
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.density import DensitySchedule
from flexsearch.trial import resumable
from flexsearch.trial.resumable import resume, train_on
from flexsearch.trial.teacher import live_teacher

Make = Callable[..., Training]


class Peers:
    """Threads that stand for processes: each gives a tensor, and all get the sum, as of a collective operation."""

    def __init__(self, num: int, *, num_parts: int = 1) -> None:
        self.num, self.num_parts = num, num_parts
        self.barrier = threading.Barrier(num, timeout=60)
        self.given: list[Tensor] = [torch.empty(0)] * num
        self.num_messages = 0

    def share(self, rank: int) -> Share:
        def sum_over_processes(values: Tensor) -> Tensor:
            self.given[rank] = values.clone()
            self.num_messages += rank == 0
            self.barrier.wait()
            summed = torch.stack(self.given).sum(0)
            self.barrier.wait()
            return summed

        return Share(rank=rank, num_processes=self.num, num_parts=self.num_parts, sum_over_processes=sum_over_processes)

    def run(self, work: Callable[[int], None]) -> list[BaseException]:
        """Calls `work` of every rank at once; gives what they raised."""
        raised: list[BaseException] = []

        def guarded(rank: int) -> None:
            try:
                work(rank)
            except BaseException as error:
                raised.append(error)
                if not isinstance(error, KeyboardInterrupt):
                    self.barrier.abort()

        threads = [threading.Thread(target=guarded, args=(rank,)) for rank in range(self.num)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return raised


@pytest.fixture
def make(tiny_base: DiTTransformer2DModel, sparse_schedule: DensitySchedule) -> Make:
    """A run of 4 updates of batch 8; keywords replace parts of how weights are updated."""

    def training(share: Share | None = None, *, taught: bool = False, **changes: object) -> Training:
        options = {"updates": 4, "batch": 8, "learning_rate": 1e-3, "ema_decay": 0.5, "max_gradient_norm": 1.0}
        base = FlexDiT.from_base(tiny_base).clone()
        model = base.clone()
        model.set_schedule(sparse_schedule)
        return Training(
            model,
            process=FlowMatching(),
            stream=BatchStream(data=load_quickstart(), batch=8, seed=0, edges=sparse_schedule.timetable.edges),
            optimisation=Optimisation(**{**options, **changes}),
            teacher=live_teacher(base.eval()) if taught else None,
            share=share,
        )

    return training


def train_together(peers: Peers, runs: list[Training]) -> list[list[float]]:
    """The losses that each of them sees."""
    losses: list[list[float]] = [[] for _ in runs]

    def train(rank: int) -> None:
        losses[rank] += [step.loss for step in runs[rank].run()]

    raised = peers.run(train)
    if raised:
        raise raised[0]
    return losses


def assert_equal(one: Training, other: Training) -> None:
    here, there = one.state_dict(), other.state_dict()
    for part in ("model", "average"):
        assert all(torch.equal(here[part][name], value) for name, value in there[part].items())


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(("num", "num_parts"), [(1, 4), (2, 1), (2, 2), (4, 2)])
def test_any_number_of_processes_and_parts_trains_the_same_weights(make: Make, num: int, num_parts: int) -> None:
    alone, peers = make(), Peers(num, num_parts=num_parts)
    expected = [step.loss for step in alone.run()]
    runs = [make(peers.share(rank)) for rank in range(num)]
    losses = train_together(peers, runs)
    for run, seen in zip(runs, losses, strict=True):
        assert_equal(run, runs[0])
        assert seen == losses[0], "all see the loss of the whole batch"
        assert seen == pytest.approx(expected, rel=1e-9)
    for one, other in zip(alone.averaged.parameters(), runs[0].averaged.parameters(), strict=True):
        assert (one - other).abs().max() < 1e-7, "a gradient of the wrong sign would make 4 steps of 1e-3"


@pytest.mark.usefixtures("double_precision")
def test_a_teacher_teaches_each_part_of_a_batch(make: Make) -> None:
    expected = [step.loss for step in make(taught=True, distillation=1.0).run()]
    peers = Peers(2, num_parts=2)
    runs = [make(peers.share(rank), taught=True, distillation=1.0) for rank in range(2)]
    assert train_together(peers, runs)[1] == pytest.approx(expected, rel=1e-9)
    assert expected != [step.loss for step in make().run()]


def test_gradients_are_summed_in_few_messages_and_any_number_of_them(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []
    for together, most in ((share_module._REDUCED_TOGETHER, 4), (1000, 10_000)):
        monkeypatch.setattr(share_module, "_REDUCED_TOGETHER", together)
        peers = Peers(2)
        runs = [make(peers.share(rank)) for rank in range(2)]
        train_together(peers, runs)
        assert 4 <= peers.num_messages <= most
        trained.append((runs[0], peers.num_messages))
    (in_one, few), (in_many, many) = trained
    assert few == 4, "one per update: gradients and loss travel together"
    assert many > few
    assert_equal(in_one, in_many)


def test_an_interrupt_of_one_stops_all_after_the_same_update_and_the_first_one_saves(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Peers(2)
    expected = [make(whole.share(rank)) for rank in range(2)]
    losses = train_together(whole, expected)[0]
    pressed = threading.Event()
    saved: list[str] = []
    monkeypatch.setattr(resumable, "held_interrupt", _interrupt_of(1, pressed))
    save = torch.save
    monkeypatch.setattr(
        torch, "save", lambda state, path: (saved.append(threading.current_thread().name), save(state, path))
    )
    peers, seen, checkpoint = Peers(2), [list[Step](), list[Step]()], tmp_path / "training.checkpoint"

    def train(rank: int) -> None:
        def report(step: Step) -> None:
            seen[rank].append(step)
            if step.update == 2 and rank == 1:
                pressed.set()

        threading.current_thread().name = str(rank)
        train_on(make(peers.share(rank)), checkpoint, save_every=100, report=report)

    raised = peers.run(train)
    assert [type(error) for error in raised] == [KeyboardInterrupt, KeyboardInterrupt]
    assert [[step.update for step in steps] for steps in seen] == [[1, 2], [1, 2]]
    assert saved == ["0"]
    pressed.clear()
    peers = Peers(2)
    runs = [make(peers.share(rank)) for rank in range(2)]
    assert [resume(run, checkpoint) for run in runs] == [2, 2]
    assert train_together(peers, runs)[0] == losses[2:]
    for run, reference in zip(runs, expected, strict=True):
        assert_equal(run, reference)


def _interrupt_of(rank: int, pressed: threading.Event) -> Callable[[], AbstractContextManager[Callable[[], bool]]]:
    """In place of `held_interrupt`, which hears signals in the main thread alone."""

    @contextmanager
    def held() -> Iterator[Callable[[], bool]]:
        yield lambda: threading.current_thread().name == str(rank) and pressed.is_set()

    return held


def test_a_run_that_cannot_be_shared_does_not_begin(make: Make) -> None:
    with pytest.raises(
        UserError, match=r"training\.batch: must be a multiple of 3 processes x 1 parts, but got 8"
    ) as it:
        make(Share(num_processes=3))
    assert it.value.nearest == 9
    for unit in range(1, 20):
        for batch in range(1, 60):
            share = Share(num_processes=unit)
            if batch % unit == 0:
                share.check(batch)
                continue
            with pytest.raises(UserError) as it:
                share.check(batch)
            legal = [unit * factor for factor in range(1, 61)]
            assert it.value.nearest in legal
            assert abs(it.value.nearest - batch) == min(abs(one - batch) for one in legal)

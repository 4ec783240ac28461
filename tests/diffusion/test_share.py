"""A batch shared out: every row once, and gradients that are those of the whole batch."""

import pytest
import torch
from diffusers import DiTTransformer2DModel
from torch import Tensor

from flexsearch.data.embedded import load_quickstart
from flexsearch.diffusion.batches import BatchStream
from flexsearch.diffusion.optimisation import Optimisation
from flexsearch.diffusion.process import FlowMatching
from flexsearch.diffusion.share import Share
from flexsearch.diffusion.training import Training
from flexsearch.errors import UserError
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.density import DensitySchedule


def stream(batch: int = 12) -> BatchStream:
    return BatchStream(data=load_quickstart(), batch=batch, seed=3, edges=(0.0, 0.5, 1.0), mirror=True)


@pytest.mark.parametrize(("num_processes", "num_parts"), [(1, 1), (3, 1), (1, 4), (2, 3)])
def test_every_row_is_computed_once_and_read_as_in_the_whole_batch(num_processes: int, num_parts: int) -> None:
    whole, rows = stream().at(5), []
    for rank in range(num_processes):
        share = Share(rank=rank, num_processes=num_processes, num_parts=num_parts)
        rows += list(share.parts(stream().at(5, share.rows(12))))
    assert len(rows) == num_processes * num_parts
    assert sum(share.weight for _ in rows) == pytest.approx(1.0)
    assert torch.equal(torch.cat([part.clean for part in rows]), whole.clean)
    assert torch.equal(torch.cat([part.noise for part in rows]), whole.noise)
    assert torch.equal(torch.cat([part.time for part in rows]), whole.time)
    for name, value in whole.condition.items():
        assert torch.equal(torch.cat([part.condition[name] for part in rows]), value)


def test_a_batch_that_cannot_be_shared_is_refused_with_the_nearest() -> None:
    Share(num_processes=4, num_parts=2).check(16)
    with pytest.raises(UserError, match=r"multiple of 4 processes x 2 parts, but got 18.*nearest legal.*16"):
        Share(num_processes=4, num_parts=2).check(18)
    with pytest.raises(UserError, match=r"nearest legal.*8"):
        Share(num_processes=4, num_parts=2).check(2)


def gradients(base: DiTTransformer2DModel, schedule: DensitySchedule, share: Share) -> tuple[Tensor, Tensor]:
    """Those of one update's batch, in one vector, and its loss."""
    model = FlexDiT.from_base(base, schedule=schedule).clone()
    optimisation = Optimisation(updates=1)
    training = Training(model, process=FlowMatching(), stream=stream(), optimisation=optimisation, share=share)
    batch = training._batch_of(0)
    assert batch is not None
    loss = training._backward(0, batch)
    found = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
    return torch.cat(found), loss


@pytest.mark.usefixtures("double_precision")
def test_sums_over_parts_and_processes_are_the_whole(
    tiny_base: DiTTransformer2DModel, sparse_schedule: DensitySchedule
) -> None:
    whole, loss = gradients(tiny_base, sparse_schedule, Share())
    close = {"rtol": 0, "atol": 1e-12 * float(whole.abs().max())}
    for share in (Share(num_parts=3), Share(num_parts=12)):
        found, its_loss = gradients(tiny_base, sparse_schedule, share)
        torch.testing.assert_close(found, whole, **close)
        assert float(its_loss) == pytest.approx(float(loss), rel=1e-12)
    alone = [
        gradients(tiny_base, sparse_schedule, Share(rank=rank, num_processes=2, num_parts=2)) for rank in range(2)
    ]  # that nobody sums over the processes
    torch.testing.assert_close(alone[0][0] + alone[1][0], whole, **close)
    assert not torch.allclose(alone[0][0], alone[1][0])
    assert float(alone[0][1] + alone[1][1]) == pytest.approx(float(loss), rel=1e-12)


def test_what_is_summed_comes_back_in_its_place() -> None:
    tensors = [torch.ones(2, 3), torch.full((4,), 2.0), torch.tensor(5.0)]
    share = Share(num_processes=2, sum_over_processes=lambda values: 10 * values)
    share.sum_in_place(tensors)
    assert torch.equal(tensors[0], torch.full((2, 3), 10.0))
    assert torch.equal(tensors[1], torch.full((4,), 20.0))
    assert tensors[2] == 50.0
    assert share.any_process(True)
    assert not share.any_process(False)

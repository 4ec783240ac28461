"""What the dense base draws when nothing is saved: what samples are compared with, one by one or as a set.

Second order (Adams-Bashforth), twice the most sampler steps of a space, nothing reused, all rows of guidance, no gain.
At the space's own most steps under a solver of first order, the base is itself as far from there as a good solver is
at half of them, and would take the better sampler for the worse one.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from flexsearch.data.conditions import Conditions
from flexsearch.data.images import to_uint8
from flexsearch.diffusion.sampling import denoise, initial_noise, on, plan_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.models.loading import Base
from flexsearch.schedule.converged import described
from flexsearch.schedule.sampling import Sampling

REFERENCE_SEED = 2**31 - 1
"""Of the noise of a reference: no study's seed, nor one that a study derives from its own. Torch's generator on the CPU
reads the last 32 bits of what `item_seed` makes of it."""


@dataclass(frozen=True, kw_only=True)
class BaseImages:
    """Samples of the dense base, drawn when asked for, as `RealImages`.

    Attributes:
        base: draws.
        sampling: how.
        settings: guidance and dtype.
        conditions: of the images.
        decode: from data in model units to images in [-1, 1].
        num: of images.
        source: identifies the base and the conditions; JSON values.
        report: called with (images done, images in total).
    """

    base: Base
    sampling: Sampling
    settings: SamplingSettings
    conditions: Conditions
    decode: Callable[[Tensor], Tensor]
    num: int
    source: Mapping[str, Any]
    report: Callable[[int, int], None]

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, rows: slice) -> Tensor:
        model, indices = self.base.model, range(*rows.indices(self.num))
        data = denoise(
            model,
            self.base.scheduler,
            plan_of(model, self.base.scheduler, self.sampling, self.settings),
            noise=initial_noise(indices, shape=model.shape.sample_size, seed=REFERENCE_SEED).to(model.device),
            condition=on(model.device, self.conditions.of_samples(indices)),
            none=on(model.device, self.conditions.none(len(indices))),
            settings=self.settings,
        )
        images = to_uint8(self.decode(data)).cpu()
        self.report(indices.stop, self.num)
        return images

    @property
    def preparation(self) -> str:
        return described(self.sampling)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {
            "source": dict(self.source),
            "images": self.num,
            "solver": self.sampling.to_dict(),
            "sampling": asdict(self.settings),
            "seed": REFERENCE_SEED,
        }

    @property
    def version(self) -> str:
        first = torch.stack([weight.flatten()[0] for weight in self.base.model.parameters()])
        return hashlib.sha256(first.detach().float().cpu().numpy().tobytes()).hexdigest()[:12]

"""Say what the dense base draws when nothing is saved: what samples are compared with, one by one or as a set.

Second order (Adams-Bashforth), twice the most sampler steps of a space, nothing reused, all rows of guidance, no gain.
At the space's own most steps under a solver of first order, the base is itself as far from there as a good solver is
at half of them, and would take the better sampler for the worse one.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flexsearch.data.conditions import Conditions
from flexsearch.data.images import to_uint8
from flexsearch.device_memory import FittingRows
from flexsearch.diffusion.sampling import denoise, initial_noise, on, plan_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.files import write_to_cache
from flexsearch.measurement import short_digest
from flexsearch.models.loading import Base
from flexsearch.paths import cache_folder
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
        seed: of the noise.
        fitting: how many are drawn at once.
    """

    base: Base
    sampling: Sampling
    settings: SamplingSettings
    conditions: Conditions
    decode: Callable[[Tensor], Tensor]
    num: int
    source: Mapping[str, Any]
    report: Callable[[int, int], None]
    seed: int = REFERENCE_SEED
    fitting: FittingRows = field(default_factory=lambda: FittingRows("drawing the base's images"), compare=False)

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, rows: slice) -> Tensor:
        model, indices = self.base.model, range(*rows.indices(self.num))

        def drawn(part: slice) -> Tensor:
            chosen = indices[part]
            data = denoise(
                model,
                self.base.scheduler,
                plan_of(model, self.base.scheduler, self.sampling, self.settings),
                noise=initial_noise(chosen, shape=model.shape.sample_size, seed=self.seed).to(model.device),
                condition=on(model.device, self.conditions.of_samples(chosen)),
                none=on(model.device, self.conditions.none(len(chosen))),
                settings=self.settings,
            )
            return to_uint8(self.decode(data)).cpu()

        images = torch.cat(self.fitting(drawn, len(indices)))
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
            "seed": self.seed,
        }

    @property
    def version(self) -> str:
        first = torch.stack([weight.flatten()[0] for weight in self.base.model.parameters()])
        return hashlib.sha256(first.detach().float().cpu().numpy().tobytes()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The base's converged samples from the noise of trials, which these are compared with one by one. They are kept in
    `~/.cache/flexsearch/pairs` (below XDG_CACHE_HOME where that is set).

    Attributes:
        images: of the base; their number and their seed are chosen when they are asked for.
        batch: images drawn at once.
    """

    images: BaseImages
    batch: int

    def __call__(self, seed: int, num: int) -> Tensor:
        """Give at least `num` images (N, C, H, W) uint8, or videos, of a seed's noise."""
        own = replace(self.images, seed=seed, num=num)
        name = f"{short_digest({**own.identity, 'images': 'any number'})}-{own.version}"
        kept = _kept(cache_folder("pairs"), name, num)
        if kept is not None:
            return kept
        drawn = torch.cat([own[start : start + self.batch] for start in range(0, num, self.batch)])

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.save(file, drawn.numpy())

        write_to_cache(cache_folder("pairs") / f"{name}-{num}.npy", write)
        return drawn


@lru_cache(maxsize=4)
def _read(path: Path, _: float) -> Tensor:
    return torch.from_numpy(np.load(path, allow_pickle=False))


def _kept(folder: Path, name: str, num: int) -> Tensor | None:
    """Find at least `num` images; what is damaged is drawn again."""
    sizes = {int(path.stem.rsplit("-", 1)[1]): path for path in folder.glob(f"{name}-*.npy")}
    for size in sorted(one for one in sizes if one >= num):
        try:
            found = _read(sizes[size], sizes[size].stat().st_mtime)
        except (OSError, ValueError):
            continue
        if len(found) == size:
            return found
    return None

"""Metrics of single images: each against the base's own of the same noise, or against its prompt; averaged over images.

A search minimises positive numbers. So of a metric that is better the higher it is, a falling function of its mean is
minimised, and the mean itself is measured beside it. One file each says what it computes; `METRICS` has them by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from flexsearch.measurement import Measurement
from flexsearch.objectives.settings import ImageMetricName

Score = Callable[[Tensor, Any], Tensor]
"""From images (B, C, H, W) uint8, or videos (B, C, F, H, W), and what they are compared with, to (B,) numbers."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is known of a metric before anything is loaded.

    Attributes:
        load: gives its function on a device, or a UserError that says what is missing.
        compares: with what: the base's "images", from the same noise, or the "prompts".
        describe: gives measurements (name, value, unit) of the mean over images: the one that is minimised, then
            others. In a report the last one counts.
        protocol: how it is computed.
    """

    load: Callable[[torch.device, str | None], Score]
    compares: str
    describe: Callable[[float], Sequence[tuple[str, float, str]]]
    protocol: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ImageMetric:
    """A metric of a run, as `flexsearch.objectives.quality.Evaluator`.

    Attributes:
        name: in `METRICS`.
        kind: what it is.
        score: its function.
        pairs: from a seed and a number to so many images that the base draws from that seed's noise.
        paired_with: what these are, for protocols.
        prompts: all prompts, in turn.
        batch: images at once.
        device: where it is computed.
        is_reported: whether it is no objective, so that only its own value is measured.
    """

    name: ImageMetricName
    kind: Kind
    score: Score
    pairs: Callable[[int, int], Tensor]
    paired_with: str
    prompts: Sequence[str]
    batch: int
    device: torch.device
    is_reported: bool = False

    @property
    def alone(self) -> "ImageMetric":
        """The objective alone."""
        return self

    def rows(self, images: Tensor, *, batch: int) -> Tensor:
        """Give what is measured of images, row by row: themselves."""
        return images

    def measure(self, rows: Tensor, *, first: int = 0, seed: int = 0) -> list[Measurement]:
        """Measure images; `first` is the index of the first one, `seed` that of their noise.

        Raises:
            UserError: images that the metric cannot read.
        """
        last = first + len(rows)
        others: Any
        facts: dict[str, Any]
        if self.kind.compares == "images":
            others = self.pairs(seed, last)[first:last]
            facts = {"from": f"{self.paired_with}, from the same noise"}
        else:
            others = [self.prompts[index % len(self.prompts)] for index in range(first, last)]
            facts = {"prompts": len(self.prompts)}
        scores = []
        for start in range(0, len(rows), self.batch):
            here = slice(start, start + self.batch)
            other = others[here].to(self.device) if isinstance(others, Tensor) else others[here]
            scores.append(self.score(rows[here].to(self.device), other).double().cpu())
        protocol = {"images": len(rows), **self.kind.protocol, **facts}
        measured = [
            Measurement(name=name, value=value, unit=unit, protocol=protocol)
            for name, value, unit in self.kind.describe(float(torch.cat(scores).mean()))
        ]
        return measured[-1:] if self.is_reported else measured


def as_pictures(images: Tensor) -> tuple[Tensor, int]:
    """Take videos (B, C, F, H, W) for pictures (B F, C, H, W); give them as floats in [0, 1], and F."""
    frames = images.shape[2] if images.ndim == 5 else 1
    if images.ndim == 5:
        images = images.transpose(1, 2).flatten(0, 1)
    return images.float() / 255, frames


def in_colour(pictures: Tensor) -> Tensor:
    """Give grey pictures three equal channels."""
    return pictures.expand(-1, 3, -1, -1) if pictures.shape[1] == 1 else pictures


def per_item(values: Tensor, frames: int) -> Tensor:
    """Average values of pictures (B F,) over the frames of each video."""
    return values.view(-1, frames).mean(dim=1)

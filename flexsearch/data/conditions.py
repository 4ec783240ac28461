"""Conditions of a model: class labels, or the stored embeddings of captions.

A condition is the keyword arguments of the model's forward, each with a leading batch dimension. Letters: B batch,
S tokens of a caption with padding, D channels of its embedding, P channels of a pooled one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from flexsearch.schedule.shape import TransformerShape

LATENT_PIXELS = 8
"""Pixels of an image along one latent pixel of the autoencoders that these models use."""

Condition = dict[str, Tensor]
"""`class_labels` (B,) int64; or `encoder_hidden_states` (B, S, D) float32, `encoder_attention_mask` (B, S) int64 (1 for
a token, 0 for padding) where padding is told from tokens, `pooled_projections` (B, P) float32 where a pooled vector is
read, and for PixArt-alpha at 1024 px `resolution` (B, 2) and `aspect_ratio` (B, 1) float32."""


class Conditions(Protocol):
    """A source of conditions."""

    def of_samples(self, indices: Sequence[int]) -> Condition:
        """Give the conditions of the generated images with these indices."""

    def none(self, num: int) -> Condition:
        """Give `num` rows of "no condition", for guidance and dropout."""


@dataclass(frozen=True, kw_only=True)
class ClassConditions:
    """Class labels in turn: generated image i has label `i % num_classes`. "No label" is `num_classes`.

    Attributes:
        num_classes: labels are below this.
        chosen: labels to take in turn instead of all.
    """

    num_classes: int
    chosen: tuple[int, ...] = ()

    def of_samples(self, indices: Sequence[int]) -> Condition:
        labels = self.chosen or range(self.num_classes)
        return self.of_labels(torch.tensor([labels[index % len(labels)] for index in indices]))

    def of_labels(self, labels: Tensor) -> Condition:
        return {"class_labels": labels}

    def none(self, num: int) -> Condition:
        return {"class_labels": torch.full((num,), self.num_classes)}


class Embedding(Protocol):
    """The embedding of a caption: (L, D) tokens without padding and, where the model reads one, a pooled vector (P,);
    on the CPU."""

    @property
    def tokens(self) -> Tensor: ...

    @property
    def pooled(self) -> Tensor | None: ...


def joined(captions: Sequence[Embedding]) -> dict[str, Tensor]:
    """Give embedded captions as `CaptionConditions` has them: `rows`, `ends` and, where they have them, `pooled`."""
    ends = torch.tensor([len(one.tokens) for one in captions]).cumsum(0)
    found = {"rows": torch.cat([one.tokens for one in captions]), "ends": ends}
    pooled = [one.pooled for one in captions if one.pooled is not None]
    return {**found, "pooled": torch.stack(pooled)} if pooled else found


def in_16_bits(embeddings: Tensor) -> Tensor:
    """Give embeddings as they are stored: in float16, or in bfloat16 where that holds none as large."""
    is_in_range = float(embeddings.abs().max()) <= torch.finfo(torch.float16).max
    return embeddings.half() if is_in_range else embeddings.bfloat16()


class Rows(Protocol):
    """A matrix, or files that hold one: a tensor is one."""

    def __getitem__(self, rows: slice, /) -> Tensor: ...


class ChosenRows(Protocol):
    """A matrix, or files that hold one, of which rows are chosen by their numbers: a tensor is one."""

    def __getitem__(self, rows: list[int], /) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class CaptionConditions:
    """Embedded captions in turn: generated image i has caption `i % num`.

    Attributes:
        rows: (sum of lengths, D) embeddings of all captions, one after the other, without padding.
        ends: (num,) int64, where each caption ends in `rows`.
        empty: (length, D) the embedding of the empty caption.
        max_tokens: S; shapes are static.
        has_mask: whether the model tells padding from tokens.
        pooled: (num, P) pooled embeddings of all captions, where the model reads them.
        empty_pooled: (P,) that of the empty caption.
        added: further constants, one row each, that the model reads for every image.
    """

    rows: Rows
    ends: Tensor
    empty: Tensor
    max_tokens: int = 120
    has_mask: bool = True
    pooled: ChosenRows | None = None
    empty_pooled: Tensor | None = None
    added: Mapping[str, Tensor] = field(default_factory=dict)

    def of_samples(self, indices: Sequence[int]) -> Condition:
        return self.of_captions([index % len(self.ends) for index in indices])

    def of_captions(self, captions: Sequence[int]) -> Condition:
        """Give the conditions of these captions."""
        starts = [0 if index == 0 else int(self.ends[index - 1]) for index in captions]
        rows = [self.rows[start : int(self.ends[index])] for start, index in zip(starts, captions, strict=True)]
        return self._padded(rows, None if self.pooled is None else self.pooled[list(captions)])

    def none(self, num: int) -> Condition:
        pooled = None if self.empty_pooled is None else self.empty_pooled.expand(num, -1)
        return self._padded([self.empty] * num, pooled)

    def _padded(self, embeddings: Sequence[Tensor], pooled: Tensor | None) -> Condition:
        states = torch.zeros(len(embeddings), self.max_tokens, self.empty.shape[1])
        mask = torch.zeros(len(embeddings), self.max_tokens, dtype=torch.int64)
        for row, embedding in enumerate(embeddings):
            kept = embedding[: self.max_tokens]
            states[row, : len(kept)], mask[row, : len(kept)] = kept.float(), 1
        added = {name: value.expand(len(embeddings), *value.shape[1:]) for name, value in self.added.items()}
        found = {"encoder_hidden_states": states, **added}
        if self.has_mask:
            found["encoder_attention_mask"] = mask
        if pooled is not None:
            found["pooled_projections"] = pooled.float()
        return found


def random_condition(shape: TransformerShape, *, batch: int, generator: torch.Generator) -> Condition:
    """Draw a random condition that a model of `shape` reads: for benchmarks and checks, not for images."""
    if not shape.text_tokens:
        return {"class_labels": torch.randint(shape.num_classes + 1, (batch,), generator=generator)}
    condition = {
        "encoder_hidden_states": torch.randn(batch, shape.text_tokens, shape.text_channels, generator=generator)
    }
    if shape.has_text_mask:
        condition["encoder_attention_mask"] = torch.ones(batch, shape.text_tokens, dtype=torch.int64)
    if shape.pooled_channels:
        condition["pooled_projections"] = torch.randn(batch, shape.pooled_channels, generator=generator)
    if shape.embeds_guidance:
        condition["guidance"] = torch.rand(batch, generator=generator) * 5
    return condition | {name: row.expand(batch, -1) for name, row in size_condition(shape).items()}


def size_condition(shape: TransformerShape) -> Condition:
    """Give one row of the image's size and aspect ratio, where the model reads them."""
    if not shape.reads_size:
        return {}
    height, width = (side * shape.patch_size * LATENT_PIXELS for side in (shape.grid.height, shape.grid.width))
    return {"resolution": torch.tensor([[height, width]]).float(), "aspect_ratio": torch.tensor([[height / width]])}

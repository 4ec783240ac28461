"""Sizes: token grids, and what of a transformer decides its cost. Grids are carried, never recovered from a count."""

from dataclasses import dataclass, fields
from functools import cached_property, lru_cache

from flexsearch.errors import UserError
from flexsearch.schedule.pickling import PickledWithoutHash

PIXEL_CHANNELS = (1, 3)
"""Channels of the data of a base that draws images themselves, and not latents."""


@dataclass(frozen=True, kw_only=True)
class TokenGrid:
    """Tokens on a `frames x height x width` grid. Images have one frame."""

    height: int
    width: int
    frames: int = 1

    def __post_init__(self) -> None:
        for side in ("height", "width", "frames"):
            if getattr(self, side) < 1:
                raise UserError(f"must be at least 1, but got {getattr(self, side)}", field=side, nearest=1)

    @property
    def num_tokens(self) -> int:
        """Tokens on the grid."""
        return self.frames * self.height * self.width

    @lru_cache(maxsize=1 << 12)  # noqa: B019 - grids are few, and equal ones share it
    def pooled(self, side: int, frames: int | None = None) -> "TokenGrid":
        """The sparse grid whose shorter side has `side` tokens; the longer side keeps the aspect ratio, rounded.

        Args:
            side: tokens along the shorter side.
            frames: frames of the sparse grid; None keeps all.

        Raises:
            UserError: `side` is not in [1, shorter side of this grid], or `frames` does not divide this grid's.
        """
        frames = self.frames if frames is None else frames
        if frames < 1 or self.frames % frames:
            legal = [number for number in range(1, self.frames + 1) if self.frames % number == 0]
            nearest = min(legal, key=lambda number: abs(number - frames))
            raise UserError(f"frames must divide {self.frames}, but got {frames}", nearest=nearest)
        shorter = min(self.height, self.width)
        if not 1 <= side <= shorter:
            nearest = min(max(side, 1), shorter)
            raise UserError(f"grid must be in [1, {shorter}], but got {side}", nearest=nearest)
        return TokenGrid(
            frames=frames,
            height=max(1, round(self.height * side / shorter)),
            width=max(1, round(self.width * side / shorter)),
        )

    def __str__(self) -> str:
        frames = f"{self.frames}x" if self.frames > 1 else ""
        return f"{frames}{self.height}x{self.width}"


@dataclass(frozen=True, kw_only=True)
class TransformerShape(PickledWithoutHash):
    """The sizes of a diffusion transformer that decide its cost.

    Attributes:
        num_blocks: transformer blocks; for video, pairs of a spatial and a temporal block.
        width: channels of a token.
        grid: dense tokens.
        patch_size: pixels or latents along a patch's side.
        in_channels: channels of the data.
        out_channels: channels of the output (twice the data's with learned variance).
        num_classes: class labels, the "no label" not counted; 0 for a model that reads text.
        mlp_ratio: hidden width of the MLP over `width`.
        num_heads: of the attention, where blocks can be computed in part (`flexsearch.schedule.width`); else 0.
        num_embedders: timestep and class embedders that are computed; 1 where all blocks share one.
        text_tokens: tokens of a caption, padding included; 0 for a model that reads class labels.
        text_channels: channels of a caption's embedding.
        shares_modulation: adaLN-single, one modulation for all blocks and a table per block (PixArt-alpha, Latte).
        has_temporal_blocks: every spatial block is followed by a temporal one (Latte).
        reads_size: the image's size and aspect ratio are embedded beside the timestep (PixArt-alpha at 1024 px).
    """

    num_blocks: int
    width: int
    grid: TokenGrid
    patch_size: int
    in_channels: int
    out_channels: int
    num_classes: int
    mlp_ratio: int = 4
    num_heads: int = 0
    num_embedders: int = 1
    text_tokens: int = 0
    text_channels: int = 0
    shares_modulation: bool = False
    has_temporal_blocks: bool = False
    reads_size: bool = False

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(getattr(self, one.name) for one in fields(self)))

    def __hash__(self) -> int:
        return self._hash  # of many fields, and asked for at every count of MACs

    @property
    def blocks_per_operation(self) -> int:
        """Transformer blocks that one block of a schedule stands for."""
        return 2 if self.has_temporal_blocks else 1

    @property
    def sample_size(self) -> tuple[int, ...]:
        """Shape of one sample: (C, H, W), or (C, F, H, W) of a video."""
        frames = (self.grid.frames,) if self.has_temporal_blocks else ()
        return (self.in_channels, *frames, self.grid.height * self.patch_size, self.grid.width * self.patch_size)

"""Sizes: token grids, and what of a transformer decides its cost. Grids are carried, never recovered from a count."""

from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache

from flexsearch.errors import UserError
from flexsearch.schedule.pickling import PickledWithoutHash

Side = int | str
"""Names a sparse grid: tokens along the shorter side, e.g. 4, or height and width, e.g. "3x5"."""

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
    def pooled(self, side: Side, frames: int | None = None) -> "TokenGrid":
        """Give the sparse grid that `side` names on this grid.

        Args:
            side: tokens along the shorter side, where the longer one keeps the aspect ratio, rounded; or both sides.
            frames: frames of the sparse grid; None keeps all.

        Raises:
            UserError: `side` is not in [1, shorter side of this grid], or either side is longer than this grid's, or
                `frames` does not divide this grid's.
        """
        frames = self.frames if frames is None else frames
        if frames < 1 or self.frames % frames:
            legal = [number for number in range(1, self.frames + 1) if self.frames % number == 0]
            nearest = min(legal, key=lambda number: abs(number - frames))
            raise UserError(f"frames must divide {self.frames}, but got {frames}", nearest=nearest)
        if isinstance(side, str):
            height, width = sides_of(side)
            if height > self.height or width > self.width:
                fits = f"{min(height, self.height)}x{min(width, self.width)}"
                raise UserError(f"grid must be at most {self.height}x{self.width}, but got {side}", nearest=fits)
            return TokenGrid(frames=frames, height=height, width=width)
        shorter = min(self.height, self.width)
        if not 1 <= side <= shorter:
            nearest = min(max(side, 1), shorter)
            raise UserError(f"grid must be in [1, {shorter}], but got {side}", nearest=nearest)
        return TokenGrid(
            frames=frames,
            height=max(1, round(self.height * side / shorter)),
            width=max(1, round(self.width * side / shorter)),
        )

    def side_of(self, sparse: "TokenGrid") -> Side:
        """Name a sparse grid of this one: `pooled` gives it back, but for its frames."""
        side = min(sparse.height, sparse.width)
        found = self.pooled(side)
        is_in_proportion = (found.height, found.width) == (sparse.height, sparse.width)
        return side if is_in_proportion else f"{sparse.height}x{sparse.width}"

    def __str__(self) -> str:
        frames = f"{self.frames}x" if self.frames > 1 else ""
        return f"{frames}{self.height}x{self.width}"


def sides_of(side: Side) -> tuple[int, int]:
    """Give height and width as a name of a sparse grid says them; a number says both."""
    if not isinstance(side, str):
        return side, side
    height, width = map(int, side.split("x"))
    return height, width


@dataclass(frozen=True, kw_only=True)
class BlockCost:
    """What one block costs on one row, where it is not of DiT's kind. Of n image tokens that attend to m, it takes
    `fixed + n per_query + m per_key + n m per_pair` MACs; text tokens are as many in every call.

    Attributes:
        fixed: MACs that do not depend on image tokens: modulation, what text tokens take among themselves.
        per_query: MACs of an image token that attends, what it reads of text included.
        per_key: MACs of an image token that is attended to.
        per_pair: MACs of the two.
        pool_fixed: as `fixed`, where all image tokens attend to their mean.
        pool_per_query: as `per_query`, there.
        modulation: MACs of the block's gates alone, when its modules' outputs are reused.
        params: parameters.
        pool_params: of them, those that pooling leaves unused.
    """

    fixed: int = 0
    per_query: int = 0
    per_key: int = 0
    per_pair: int = 0
    pool_fixed: int = 0
    pool_per_query: int = 0
    modulation: int = 0
    params: int = 0
    pool_params: int = 0

    def macs(self, queries: int, keys: int) -> int:
        """MACs of `queries` image tokens that attend to `keys`."""
        return self.fixed + queries * self.per_query + keys * self.per_key + queries * keys * self.per_pair

    def pool_macs(self, queries: int) -> int:
        """MACs of `queries` image tokens that attend to their mean."""
        return self.pool_fixed + queries * self.pool_per_query


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
        pooled_channels: channels of a caption's pooled embedding, one vector; 0 where none is read.
        embeds_guidance: the scale of guidance is embedded, in place of a second row (FLUX.1-dev).
        has_text_mask: whether padding of captions is told from their tokens.
        blocks: what every block costs, where blocks are not of DiT's kind; () where the sizes above say it.
        ends: what is outside the blocks, of which n are all image tokens; with `blocks`.
        read_text: MACs of a caption, once per image; with `blocks`.
        is_video: samples have frames; so have those of models with temporal blocks.
        has_own_attention: whether image tokens attend by softmax, to image tokens alone; with `blocks`.
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
    pooled_channels: int = 0
    embeds_guidance: bool = False
    has_text_mask: bool = True
    blocks: tuple[BlockCost, ...] = ()
    ends: BlockCost = field(default_factory=BlockCost)
    read_text: int = 0
    is_video: bool = False
    has_own_attention: bool = False

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(getattr(self, one.name) for one in fields(self)))

    def __hash__(self) -> int:
        return self._hash  # of many fields, and asked for at every count of MACs

    @property
    def block(self) -> BlockCost | None:
        """What the one block costs that `of_block` left; None where the sizes say it."""
        return self.blocks[0] if self.blocks else None

    @lru_cache(maxsize=1 << 12)  # noqa: B019 - shapes are few
    def of_block(self, index: int) -> "TransformerShape":
        """The shape as the roles of a block are costed with."""
        return replace(self, blocks=(self.blocks[index],)) if self.blocks else self

    @cached_property
    def alike(self) -> tuple[int, ...]:
        """For every block, the first that costs the same."""
        return tuple(self.blocks.index(one) for one in self.blocks) or (0,) * self.num_blocks

    @property
    def attends_alone(self) -> bool:
        """Whether image tokens attend by softmax, to image tokens alone, as in all blocks of DiT's kind."""
        return self.has_own_attention or not self.blocks

    @property
    def blocks_per_operation(self) -> int:
        """Transformer blocks that one block of a schedule stands for."""
        return 2 if self.has_temporal_blocks else 1

    @property
    def sample_size(self) -> tuple[int, ...]:
        """Shape of one sample: (C, H, W), or (C, F, H, W) of a video."""
        frames = (self.grid.frames,) if self.is_video or self.has_temporal_blocks else ()
        return (self.in_channels, *frames, self.grid.height * self.patch_size, self.grid.width * self.patch_size)

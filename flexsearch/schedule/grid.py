"""How many tokens, and how they lie. Grids are carried along, never recovered from a token count."""

from dataclasses import dataclass

from flexsearch.errors import UserError


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

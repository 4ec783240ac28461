"""The density schedule: which role each block plays, on how many tokens, at which diffusion time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flexsearch.errors import UserError
from flexsearch.measurement import short_digest
from flexsearch.schedule.roles import LETTERS, Role
from flexsearch.schedule.segments import Dense, Segment, family_named
from flexsearch.schedule.timetable import Timetable


@dataclass(frozen=True, kw_only=True)
class DensitySchedule:
    """Segments from bottom to top and a timetable of sparse grids.

    A schedule without sparse tokens has no use for grids: its timetable is one stage with grid 1.
    """

    segments: tuple[Segment, ...]
    timetable: Timetable = field(default_factory=Timetable)

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", tuple(segment for segment in self.segments if segment.roles))
        if not self.segments:
            raise UserError("must hold at least one block", field="segments")
        if not self.has_sparse_tokens:
            object.__setattr__(self, "timetable", Timetable())

    @classmethod
    def all_dense(cls, num_blocks: int) -> "DensitySchedule":
        """The schedule that changes nothing."""
        return cls(segments=(Dense(depth=num_blocks),))

    @property
    def roles(self) -> tuple[Role, ...]:
        """One role per block, bottom to top."""
        return tuple(role for segment in self.segments for role in segment.roles)

    @property
    def num_blocks(self) -> int:
        """Blocks of the model that it is for."""
        return len(self.roles)

    @property
    def has_sparse_tokens(self) -> bool:
        """Whether any block works on sparse tokens."""
        return "recover" in self.roles

    @property
    def is_dense(self) -> bool:
        """Whether every block is the base's own."""
        return set(self.roles) == {"dense"}

    @property
    def digest(self) -> str:
        """Identifies what the schedule does: two spellings of the same roles and grids share it."""
        return short_digest({"roles": self.roles, "timetable": self.timetable.to_dict()})

    def to_dict(self) -> dict[str, Any]:
        """JSON values; `from_dict` is the inverse."""
        return {
            "segments": [{"family": segment.family, **vars(segment)} for segment in self.segments],
            "timetable": self.timetable.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DensitySchedule":
        """Builds a schedule from JSON values.

        Raises:
            UserError: an unknown family or field, or a value out of range; names the field.
        """
        segments = []
        for index, entry in enumerate(values.get("segments", ())):
            path = f"segments[{index}]"
            family = family_named(entry.get("family"), field=f"{path}.family")
            try:
                segments.append(family(**{key: value for key, value in entry.items() if key != "family"}))
            except UserError as error:
                raise error.under(path) from None
            except TypeError as error:
                raise UserError(f"has unknown or missing fields ({error})", field=path) from None
        timetable: dict[str, Any] = dict(values.get("timetable", {}))
        try:
            built = Timetable(**timetable)
        except UserError as error:
            raise error.under("timetable") from None
        except TypeError as error:
            raise UserError(f"has unknown or missing fields ({error})", field="timetable") from None
        return cls(segments=tuple(segments), timetable=built)

    def __str__(self) -> str:
        """One letter per block (P pool, M merge, s sparse, R recover, D dense) and the grids from data to noise."""
        text = "".join(LETTERS[role] for role in self.roles)
        if self.has_sparse_tokens:
            text += " @" + ",".join(str(grid) for grid in self.timetable.grids)
            if self.timetable.frames is not None:
                text += f" {self.timetable.frames}f"
        return text

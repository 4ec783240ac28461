"""Tables that fit: a line for each row where there is room, then cells of several lines, then fewer columns.

Nothing in a cell is cut. Numbers are never broken; texts are, between words, and not between a word and its number.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

from rich.console import Console, ConsoleOptions
from rich.text import Text

Cell = list[str]  # its parts, beside each other or below each other

_GAP = "  "
_LEAST = 8  # characters of a broken text, even where the terminal is too narrow
_TIED = "\N{NO-BREAK SPACE}"
_IN_A_WORD = re.compile(rf"(?<=[-_{_TIED}])")
_BEFORE_A_NUMBER = re.compile(r"(?<=[\w)]) (?=[@\d.])")


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column.

    Attributes:
        heading: "\\n" is where it may be broken.
        is_text: stands left, and may be broken.
        leaves: where there is no room, columns with the largest go first; None stays.
    """

    heading: str
    is_text: bool = False
    leaves: int | None = None


class FittedTable:
    """A table that is laid out for the width in which it is printed. Lines of a cell are parts, which stand beside each
    other where all rows have room for that."""

    def __init__(self, columns: Iterable[Column], *, title: str = "") -> None:
        self.columns = tuple(columns)
        self.title = title
        self.rows: list[tuple[str, ...]] = []
        self._styles: list[str] = []
        self._marks: list[Mapping[int, str]] = []
        self._gaps: set[int] = set()

    def add_row(self, *cells: str, style: str = "", marks: Mapping[int, str] | None = None) -> None:
        """Add a row, a cell for each column; `marks` are styles of single cells, by column."""
        self.rows.append(cells)
        self._styles.append(style)
        self._marks.append(marks or {})

    def add_section(self) -> None:
        """Leave a line before the next row."""
        self._gaps.add(len(self.rows))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        yield from map(Text, wrap(self.title, options.max_width))
        yield from self.lines(options.max_width)

    def lines(self, width: int) -> Iterator[Text]:
        """Lay the table out, the heading first."""
        heading: list[Cell] = [column.heading.split("\n") for column in self.columns]
        grid = [heading, *([_tied(cell).split("\n") for cell in row] for row in self.rows)]
        places, widths = list(range(len(heading))), [_widest(grid, place, _beside) for place in range(len(heading))]
        if _total(widths) <= width:
            grid = [[_beside(cell) for cell in row] for row in grid]
        else:
            places, widths = self._fitted(grid, width)
        styles, marks = ["bold", *self._styles], [{}, *self._marks]
        starts = [_total(widths[:place]) + len(_GAP) * (place > 0) for place in range(len(widths))]
        for number, (row, style, marked) in enumerate(zip(grid, styles, marks, strict=True)):
            if number - 1 in self._gaps:
                yield Text()
            cells = [_broken(row[place], wide) for place, wide in zip(places, widths, strict=True)]
            for line in range(max(map(len, cells))):
                parts = [cell[line] if line < len(cell) else "" for cell in cells]
                sides = ["<" if self.columns[place].is_text else ">" for place in places]
                aligned = (f"{part:{side}{wide}}" for part, side, wide in zip(parts, sides, widths, strict=True))
                text = Text(
                    _GAP.join(aligned).replace(_TIED, " ").rstrip(), style=style, no_wrap=True, overflow="ignore"
                )
                for place, start, wide in zip(places, starts, widths, strict=True):
                    text.stylize(marked.get(place, ""), start, start + wide)
                yield text
            if not number:
                yield Text("─" * _total(widths))

    def _fitted(self, grid: Sequence[Sequence[Cell]], width: int) -> tuple[list[int], list[int]]:
        """Choose columns and their widths for parts below each other; the widest of texts is broken."""
        places = list(range(len(self.columns)))
        wide = [_widest(grid, place, _below) for place in places]
        broken = max(places, key=lambda place: (self.columns[place].is_text, wide[place]))
        is_broken = self.columns[broken].is_text
        least = {
            place: _widest(grid, place, _words) if is_broken and place == broken else wide[place] for place in places
        }
        while _total([least[place] for place in places]) > width:
            leaving = [(leaves, place) for place in places if (leaves := self.columns[place].leaves) is not None]
            if not leaving:
                break
            places.remove(max(leaving)[1])
        if is_broken:
            rest = [wide[place] for place in places if place != broken]
            wide[broken] = min(wide[broken], max(_LEAST, width - _total(rest) - len(_GAP)))
        return places, [wide[place] for place in places]


def _tied(cell: str) -> str:
    """Tie schedules to their grids, and words to their numbers."""
    return _BEFORE_A_NUMBER.sub(_TIED, cell)


def _beside(cell: Cell) -> Cell:
    """The parts on one line."""
    line = cell[0]
    for part in cell[1:]:
        line += part if line.endswith(("-", "/")) else f" {part}"
    return [line]


def _below(cell: Cell) -> Cell:
    return cell


def _words(cell: Cell) -> Cell:
    return [word for part in cell for word in part.split(" ")]


def _widest(grid: Sequence[Sequence[Cell]], place: int, lines: Callable[[Cell], Cell]) -> int:
    return max(len(line) for row in grid for line in lines(row[place]))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _broken(cell: Cell, width: int) -> Cell:
    """The lines of a cell, none wider than the column: broken between words, then before a number and in names, else
    anywhere."""
    lines: Cell = []
    for part in cell:
        lines.append("")
        for word in part.split(" "):
            longer = f"{lines[-1]} {word}".strip(" ")
            if len(longer) <= width:
                lines[-1] = longer
                continue
            if lines[-1]:
                lines.append("")
            for piece in [word] if len(word) <= width else _IN_A_WORD.split(word):
                if lines[-1] and len(lines[-1] + piece) > width:
                    lines.append("")
                lines[-1] += piece
                while len(lines[-1]) > width:
                    lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return lines

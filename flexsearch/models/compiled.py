"""Compiled passes of a model, one for every graph and token grid, whose shapes are static."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from flexsearch.schedule.shape import TokenGrid
from flexsearch.schedule.step import Graph

Pass = Callable[..., tuple[Tensor, tuple[Tensor, ...]]]
"""Gives the output of a model call and what it leaves."""

_ISOLATED = {"isolate_recompiles": True} if "isolate_recompiles" in signature(torch.compile).parameters else {}
"""Graphs share code; older torch counts their compilations together and stops at `recompile_limit`."""
_OPTIONS: dict[str, Any] = {"fullgraph": True, "dynamic": False, **_ISOLATED}


class CompiledGraphs:
    """Passes that are compiled when they first run.

    Attributes:
        options: of `torch.compile`; None compiles nothing.
    """

    def __init__(self) -> None:
        self.options: dict[str, Any] | None = None
        self._compiled: dict[tuple[TokenGrid, Graph], Pass] = {}

    def compile(self, options: dict[str, Any]) -> None:
        """Compile every pass from now on, with options of `torch.compile`."""
        self.options = {**_OPTIONS, **options}
        self.clear()

    def clear(self) -> None:
        """Forget what was compiled."""
        self._compiled.clear()

    @contextmanager
    def within(self) -> Iterator[None]:
        """Compile the passes that run within, by the options that were given, if any."""
        before = self.options
        if before is None:
            self.options = _OPTIONS
        try:
            yield
        finally:
            self.options = before

    def of(self, run: Pass, grid: TokenGrid, graph: Graph) -> Pass:
        """Give the pass of a graph, compiled where passes are."""
        if self.options is None:
            return run
        key = (grid, replace(graph, order=0))  # what is reused is extrapolated outside
        if key not in self._compiled:
            self._compiled[key] = torch.compile(run, **self.options)
        return self._compiled[key]

    def __getstate__(self) -> dict[str, Any]:
        """Give what copies and pickles take: compiled graphs hold this model's weights, not the copy's."""
        return {**self.__dict__, "_compiled": {}}

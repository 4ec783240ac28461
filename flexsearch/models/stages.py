"""Say which graph a model call computes that names none, as diffusers' pipelines call a model: that of its stage."""

import torch
from torch import Tensor

from flexsearch.errors import UserError
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.plan import stage_graphs
from flexsearch.schedule.shape import TokenGrid
from flexsearch.schedule.step import Graph
from flexsearch.schedule.timetable import CLOCK_ERROR


class StageGraphs:
    """The graphs of a schedule's stages, by token grid.

    Args:
        schedule: of `num_blocks` blocks.
        num_blocks: of the model.
        num_train_timesteps: of the base's clock, which shows this number times the diffusion time.
    """

    def __init__(self, schedule: DensitySchedule, *, num_blocks: int, num_train_timesteps: int) -> None:
        self._schedule, self._num_blocks, self._num_train_timesteps = schedule, num_blocks, num_train_timesteps
        self._graphs: dict[TokenGrid, tuple[Graph, ...]] = {}

    def on(self, grid: TokenGrid) -> tuple[Graph, ...]:
        """Give what one model call computes in every stage, on a grid."""
        if grid not in self._graphs:
            self._graphs[grid] = stage_graphs(self._schedule, grid, num_blocks=self._num_blocks)
        return self._graphs[grid]

    def at(self, timestep: Tensor, grid: TokenGrid) -> Graph:
        """Give the graph of the stage that holds all timesteps (B,); one on an edge, but for rounding, belongs to both
        sides. Waits for the device.

        Raises:
            UserError: they lie in several stages, or a compiler asks.
        """
        if torch.compiler.is_compiling():
            raise UserError("compile_stages() compiles a graph per stage; torch.compile needs graph=", field="forward")
        graphs, timetable = self.on(grid), self._schedule.timetable
        if len(graphs) == 1:
            return graphs[0]
        low, high = (float(bound) / self._num_train_timesteps for bound in torch.aminmax(timestep))
        stage = timetable.stage_of(low)
        if stage < timetable.stage_of(max(high - 2 * CLOCK_ERROR, 0.0)):
            raise UserError(f"a batch must lie in one stage of the timetable, but got t in [{low}, {high}]")
        return graphs[stage]

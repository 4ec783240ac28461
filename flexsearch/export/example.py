"""Example calls of the graphs of a plan: what exported graphs are traced with, and what exports are compared on."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from flexsearch.data.conditions import Condition, random_condition
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.plan import Plan, stage_graphs
from flexsearch.schedule.step import Graph


class Example(NamedTuple):
    """A model call.

    Attributes:
        graph: what is computed.
        noisy: (B, in_channels, H, W), or (B, in_channels, F, H, W) of a video.
        timestep: (B,) in the graph's stage.
        condition: what the model is conditioned on.
        reused: what a full step left; empty where the graph reuses nothing.
    """

    graph: Graph
    noisy: Tensor
    timestep: Tensor
    condition: Condition
    reused: tuple[Tensor, ...]

    def run(self, model: FlexDiT) -> tuple[Tensor, ...]:
        """Give a model's output, and behind it what the graph leaves; under autocast where weights are in bf16."""
        is_half = any(weight.dtype == torch.bfloat16 for weight in model.parameters())
        with torch.no_grad(), torch.autocast(self.noisy.device.type, torch.bfloat16, enabled=is_half):
            found = model(self.noisy, self.timestep, graph=self.graph, reused=self.reused, **self.condition)
        return (found.sample, *found.left)


def example_of(model: FlexDiT, graph: Graph, *, batch: int) -> Example:
    """Make a random call of a graph, on the model's device, always the same of one batch size.

    Args:
        model: in eval mode; leaves what the graph reuses.
        graph: with one row per image.
        batch: B.
    """
    generator = torch.Generator().manual_seed(batch)
    noisy = torch.randn(batch, *model.shape.sample_size, generator=generator).to(model.device)
    condition = random_condition(model.shape, batch=batch, generator=generator)
    time = model.schedule.timetable.edges[graph.stage]
    timestep = torch.full((batch,), time * model.config["num_train_timesteps"], device=model.device)
    contiguous = {name: value.contiguous().to(model.device) for name, value in condition.items()}
    found = Example(graph=graph, noisy=noisy, timestep=timestep, condition=contiguous, reused=())
    if graph.reuses is None:
        return found
    leaving = replace(model.graphs()[graph.stage], span=graph.span, leaves=graph.reuses, gain=graph.gain)
    return found._replace(reused=found._replace(graph=leaving).run(model)[1:])


def alone(graph: Graph) -> Graph:
    """Give what a graph computes by itself: rows share it, and what is reused is extrapolated before."""
    return replace(graph, rows=1, order=0)


def computed_graphs(plan: Plan) -> list[Graph]:
    """Give every graph that a plan computes, once, `alone`.

    Without reuse, all stages have one, those too in which no step falls, so that other steps can be taken.
    """
    graphs = {alone(graph) for graph in plan.graphs if graph.calls_model}
    if any(graph.span for graph in graphs):
        return sorted(graphs, key=lambda graph: (graph.stage, graph.reuses is not None, graph.leaves is not None))
    schedule, grid, gain = plan.candidate.schedule, plan.target.shape.grid, plan.candidate.sampling.gain
    return [replace(graph, gain=gain) for graph in stage_graphs(schedule, grid)]

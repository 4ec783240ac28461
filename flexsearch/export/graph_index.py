"""Say what `graphs.json` says, so that exported graphs run without flexsearch: names, shapes, timesteps, and the
steps."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from flexsearch.diffusion.solvers import solver_of
from flexsearch.export.example import Example, alone, example_of
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.plan import Plan
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.step import Graph, Reused


def name_of(graph: Graph) -> str:
    """Name a graph's file: of its stage, and whether it leaves something for later steps or is partial."""
    kind = "_partial" if graph.reuses else "_leaving" if graph.leaves else ""
    return f"stage{graph.stage}{kind}"


def inputs_of(example: Example) -> dict[str, Tensor]:
    """Name what a graph reads, in its order."""
    own = {"hidden_states": example.noisy, "timestep": example.timestep, **example.condition}
    return {**own, **_kept(example.graph.reuses, example.reused)}


def outputs_of(graph: Graph, outputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """Name what a graph gives, in its order."""
    return {"sample": outputs[0], **_kept(graph.leaves, outputs[1:])}


def index_of(
    model: FlexDiT, plan: Plan, scheduler: Any, *, written: Mapping[Graph, tuple[str, float]]
) -> dict[str, Any]:
    """Describe graphs.

    Args:
        model: that they are of.
        plan: of which they are all.
        scheduler: the base's, whose timesteps the steps have.
        written: the file of every graph, and its largest difference from the model.
    """
    first, sampling = next(iter(written)), plan.candidate.sampling
    keeps = any(graph.span for graph in written)
    inputs = inputs_of(example_of(model, first, batch=1)._replace(reused=()))
    index: dict[str, Any] = {
        "schedule_digest": model.schedule.digest,
        "covers": "from_timestep <= timestep < to_timestep; the last graph its end as well",
        "inputs": _described(inputs),
        "outputs": {
            "sample": {"dtype": "float32", "shape": ["batch", model.shape.out_channels, *model.shape.sample_size[1:]]}
        },
        "graphs": [
            {**_of_file(model, graph, *found), **(_kept_by(model, graph) if keeps else {})}
            for graph, found in written.items()
        ],
    }
    if sampling == Sampling(steps=sampling.steps):
        return index
    files = {graph: file for graph, (file, _) in written.items()}
    return {**index, "sampling": sampling.to_dict(), "steps": list(_steps(plan, scheduler, files))}


def _of_file(model: FlexDiT, graph: Graph, file: str, difference: float) -> dict[str, Any]:
    edges, total = model.schedule.timetable.edges, model.config["num_train_timesteps"]
    low, high = (edges[edge] * total for edge in (graph.stage, graph.stage + 1))
    return {"file": file, "from_timestep": low, "to_timestep": high, "max_difference": difference}


def _kept_by(model: FlexDiT, graph: Graph) -> dict[str, Any]:
    """Give what a graph reads of earlier steps, and leaves for later ones."""
    example = example_of(model, graph, batch=1)
    left = example.run(model)[1:]
    return {
        "reads": _described(_kept(graph.reuses, example.reused)),
        "leaves": _described(_kept(graph.leaves, left)),
    }


def _steps(plan: Plan, scheduler: Any, files: Mapping[Graph, str]) -> Iterator[dict[str, Any]]:
    solver = solver_of(scheduler, plan, seed=0, device=torch.device("cpu"))
    for index, step in enumerate(plan.steps):
        yield {
            "time": step.time,
            "timestep": float(solver.timestep(index)),
            "graph": files.get(alone(step.graph)),
            "rows": step.graph.rows,
            "is_guided": plan.target.is_guided and step.is_guided,
            "reuses": step.graph.reuses,
            "theta": step.theta,
            "order": step.graph.order,
        }


def _kept(kind: Reused | None, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """Name what a span leaves: its residual, or the outputs of its modules."""
    names = ["residual"] if kind == "residual" else [f"module{number}" for number in range(len(tensors))]
    return dict(zip(names, tensors, strict=True))


def _described(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        name: {"dtype": str(value.dtype).removeprefix("torch."), "shape": ["batch", *value.shape[1:]]}
        for name, value in tensors.items()
    }

"""A model as graphs that need no flexsearch: one ONNX file or one `torch.export` program per graph of the plan.

Without reuse that is one per stage of the timetable. Shapes inside a stage are static, so each is one graph without
branches; the caller goes from graph to graph as the timestep falls. With reuse, a full step that later ones read gives
what it leaves as further outputs, and a partial step reads them as further inputs. `graphs.json` says which graph
covers which timesteps, what the graphs read and, where a candidate samples by more than a number of steps, every step
of its plan. A loop over them is in docs/reference/export.md.
"""

import importlib
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flexsearch import __version__
from flexsearch.diffusion.data_gaussian import started_data
from flexsearch.diffusion.sampling import plan_of
from flexsearch.errors import FlexsearchError, UserError
from flexsearch.export.example import Example, computed_graphs, example_of
from flexsearch.export.folder import exported_sampling
from flexsearch.export.graph_index import index_of, inputs_of, name_of, outputs_of
from flexsearch.export.onnx_program import OPSET, onnx_program
from flexsearch.export.recipe import load_recipe
from flexsearch.extras import require
from flexsearch.files import folder_beside, rename_folder
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.loading import load_scheduler
from flexsearch.schedule.plan import Plan
from flexsearch.schedule.step import Graph

GRAPHS, DATA = "graphs.json", "data.npz"
ONNX_FOLDER, PROGRAMS_FOLDER = "onnx", "torch_export"
_EXAMPLE, _CHECKED = 3, (1, 3, 4)  # rows of batches; tracing takes 1 for a constant
_RELATIVE_ROUNDING = 1e-4

Run = Callable[..., Sequence[Tensor]]
"""An exported graph: its inputs by name, `reused` together, to the output and what is left."""


class OneGraph(nn.Module):
    """A model under one graph. Its arguments are spelled out, since torch cannot trace `**condition`."""

    def __init__(self, model: FlexDiT, graph: Graph) -> None:
        super().__init__()
        self.model = model
        self.graph = graph

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        class_labels: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        resolution: Tensor | None = None,
        aspect_ratio: Tensor | None = None,
        pooled_projections: Tensor | None = None,
        guidance: Tensor | None = None,
        reused: tuple[Tensor, ...] = (),
    ) -> Tensor | tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = self.model(
            hidden_states,
            timestep,
            graph=self.graph,
            reused=reused,
            return_dict=False,
            class_labels=class_labels,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            resolution=resolution,
            aspect_ratio=aspect_ratio,
            pooled_projections=pooled_projections,
            guidance=guidance,
        )
        return outputs[0] if self.graph.leaves is None else outputs


def require_onnx() -> None:
    """Raise UserError where a library that `export_onnx` needs is not installed."""
    for library in ("onnx", "onnxscript", "onnxruntime"):
        require(library, field="--onnx")


def write_graphs(out: Path, *, onnx: bool, programs: bool) -> Iterator[str]:
    """Add graphs to an exported folder, as `onnx/` and `torch_export/`, saying what it did.

    Raises:
        UserError: a library is not installed, or the folder has such graphs.
    """
    if onnx:
        require_onnx()
    kinds = [(onnx, ONNX_FOLDER, export_onnx), (programs, PROGRAMS_FOLDER, export_programs)]
    for wanted, name, export in kinds:
        if wanted:
            model, scheduler = FlexDiT.from_pretrained(out).eval(), load_scheduler(str(out))
            settings = load_recipe(out).sampling
            plan = plan_of(model, scheduler, exported_sampling(out), settings)
            index = export(model, out / name, plan=plan, scheduler=scheduler)
            worst = max(graph["max_difference"] for graph in index["graphs"])
            says = "equal to the model to the bit" if worst == 0 else f"within {worst:.2g} of the model"
            yield f"{out / name}: {len(index['graphs'])} graphs, {says}"


def export_onnx(model: FlexDiT, folder: Path, *, plan: Plan, scheduler: Any) -> dict[str, Any]:
    """Write `stage0.onnx`, ... and `graphs.json`, each graph run by onnxruntime and compared with the model.

    Args:
        model: in eval mode, on the CPU, in fp32.
        folder: to make. Weights beyond 2 GB lie beside their graph.
        plan: whose graphs are written.
        scheduler: the base's.

    Returns:
        What `graphs.json` holds.

    Raises:
        UserError: a library is not installed, or `folder` exists.
    """
    require_onnx()
    onnxruntime = importlib.import_module("onnxruntime")

    def write(one: OneGraph, example: Example, path: Path) -> None:
        inputs, outputs = list(inputs_of(example)), list(outputs_of(one.graph, example.run(model)))
        onnx_program(_traced(one, example), inputs=inputs, outputs=outputs).save(path)

    def read(path: Path) -> Run:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors: it warns of constants that it cannot fold
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_inputs()]

        def run(*arguments: Tensor, reused: Sequence[Tensor] = (), **condition: Tensor) -> Sequence[Tensor]:
            given = zip(names, (*arguments, *condition.values(), *reused), strict=True)
            outputs = session.run(None, {name: value.numpy() for name, value in given})
            return [torch.from_numpy(output) for output in outputs]

        return run

    about = {"format": "onnx", "opset": OPSET, "onnxruntime": onnxruntime.__version__}
    return _export(model, folder, plan, scheduler, about=about, ending="onnx", write=write, read=read)


def export_programs(model: FlexDiT, folder: Path, *, plan: Plan, scheduler: Any) -> dict[str, Any]:
    """Write `stage0.pt2`, ... and `graphs.json`, each program loaded back and compared with the model.

    Run one with `torch.export.load("stage0.pt2").module()(hidden_states, timestep, class_labels=...)`. A partial step
    takes `reused=(...)` as well; a full step that leaves something gives a tuple.

    Args:
        model: in eval mode, on the CPU, in fp32.
        folder: to make.
        plan: whose graphs are written.
        scheduler: the base's.

    Returns:
        What `graphs.json` holds.

    Raises:
        UserError: `folder` exists.
    """

    def write(one: OneGraph, example: Example, path: Path) -> None:
        torch.export.save(_traced(one, example), path)

    def read(path: Path) -> Run:
        program = torch.export.load(path).module()

        def run(*arguments: Tensor, **others: Any) -> Sequence[Tensor]:
            output = program(*arguments, **others)
            return (output,) if isinstance(output, Tensor) else output

        return run

    about = {"format": "torch.export"}
    return _export(model, folder, plan, scheduler, about=about, ending="pt2", write=write, read=read)


def _export(
    model: FlexDiT,
    folder: Path,
    plan: Plan,
    scheduler: Any,
    *,
    about: dict[str, Any],
    ending: str,
    write: Callable[[OneGraph, Example, Path], None],
    read: Callable[[Path], Run],
) -> dict[str, Any]:
    if folder.exists():
        raise UserError("exists already", field=str(folder))
    graphs = {}
    with folder_beside(folder) as temporary, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # exporters tell of their own deprecations
        for graph in computed_graphs(plan):
            one, path = OneGraph(model, graph).eval(), temporary / f"{name_of(graph)}.{ending}"
            write(one, example_of(model, graph, batch=_EXAMPLE), path)
            graphs[graph] = (path.name, _compare(one, read(path)))
        index = {
            **about,
            "torch": torch.__version__,
            "flexsearch": __version__,
            **index_of(model, plan, scheduler, written=graphs),
        }
        if plan.candidate.sampling.start != "model":
            data, factors = started_data(model, scheduler, plan)
            means, directions = (value.float().numpy() for value in (data.means, data.directions))
            np.savez(temporary / DATA, means=means, directions=directions, factors=factors.numpy())
            index["data"] = DATA
        (temporary / GRAPHS).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        rename_folder(temporary, folder)
    return index


def _arguments(example: Example) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """The arguments of `OneGraph`, by place and by name."""
    reused = {"reused": example.reused} if example.reused else {}
    return (example.noisy, example.timestep), {**example.condition, **reused}


def _traced(one: OneGraph, example: Example) -> torch.export.ExportedProgram:
    arguments, named = _arguments(example)
    rows = {0: torch.export.Dim("batch")}
    shapes: dict[str, Any] = {"hidden_states": rows, "timestep": rows, **dict.fromkeys(example.condition, rows)}
    if example.reused:
        shapes["reused"] = (rows,) * len(example.reused)
    return torch.export.export(one, arguments, named, dynamic_shapes=shapes)


def _compare(one: OneGraph, exported: Run) -> float:
    """Find the largest difference between a graph and the model, over batches that it was not traced with as well."""
    worst = 0.0
    for batch in _CHECKED:
        example = example_of(one.model, one.graph, batch=batch)
        arguments, named = _arguments(example)
        for expected, found in zip(example.run(one.model), exported(*arguments, **named), strict=True):
            difference = float((expected - found).abs().max())
            if not difference <= _RELATIVE_ROUNDING * float(expected.abs().max()):
                raise FlexsearchError(
                    f"the graph of stage {one.graph.stage} differs by {difference:.3g} at batch {batch}"
                )
            worst = max(worst, difference)
    return worst

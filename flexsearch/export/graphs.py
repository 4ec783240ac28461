"""A model as graphs that need no flexsearch: one ONNX file or one `torch.export` program per stage of the timetable.

Shapes inside a stage are static, so each is one graph without branches; the caller goes from graph to graph as the
timestep falls. `graphs.json` says which graph covers which timesteps, and what the graphs read.
"""

import importlib
import importlib.util
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from flexsearch import __version__
from flexsearch.data.conditions import Condition, random_condition
from flexsearch.errors import FlexsearchError, UserError
from flexsearch.files import folder_beside
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.step import Graph

GRAPHS = "graphs.json"
ONNX_FOLDER, PROGRAMS_FOLDER = "onnx", "torch_export"
OPSET = 20
_EXAMPLE, _CHECKED = 3, (1, 3, 4)  # rows of batches; tracing takes 1 for a constant
_RELATIVE_ROUNDING = 1e-4

Inputs = tuple[Tensor, Tensor, Condition]
"""Noisy data, timesteps, and what the model is conditioned on."""


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
    ) -> Tensor:
        output: Tensor = self.model(
            hidden_states,
            timestep,
            graph=self.graph,
            return_dict=False,
            class_labels=class_labels,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            resolution=resolution,
            aspect_ratio=aspect_ratio,
        )[0]
        return output


def require_onnx() -> None:
    """Raise UserError where a library that `export_onnx` needs is not installed."""
    for library in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(library) is None:
            raise UserError(f'{library} is not installed; pip install "flexsearch[onnx]"', field="--onnx")


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
            index = export(FlexDiT.from_pretrained(out).eval(), out / name)
            worst = max(graph["max_difference"] for graph in index["graphs"])
            says = "equal to the model to the bit" if worst == 0 else f"within {worst:.2g} of the model"
            yield f"{out / name}: {len(index['graphs'])} graphs, {says}"


def export_onnx(model: FlexDiT, folder: Path) -> dict[str, Any]:
    """Write `stage0.onnx`, ... and `graphs.json`, each graph run by onnxruntime and compared with the model.

    Args:
        model: in eval mode, on the CPU, in fp32.
        folder: to make. Weights beyond 2 GB lie beside their graph.

    Returns:
        What `graphs.json` holds.

    Raises:
        UserError: a library is not installed, or `folder` exists.
    """
    require_onnx()
    onnxruntime = importlib.import_module("onnxruntime")

    def write(one: OneGraph, inputs: Inputs, path: Path) -> None:
        with redirect_stdout(StringIO()):  # the exporter tells its steps
            program = torch.onnx.export(
                _traced(one, inputs),
                dynamo=True,
                opset_version=OPSET,
                input_names=["hidden_states", "timestep", *inputs[2]],
                output_names=["sample"],
            )
        assert program is not None, "without a file name, the exporter returns the program"
        program.save(path)

    def read(path: Path) -> Callable[..., Tensor]:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

        def run(hidden_states: Tensor, timestep: Tensor, **condition: Tensor) -> Tensor:
            given = {"hidden_states": hidden_states, "timestep": timestep, **condition}
            (output,) = session.run(["sample"], {name: value.numpy() for name, value in given.items()})
            return torch.from_numpy(output)

        return run

    about = {"format": "onnx", "opset": OPSET, "onnxruntime": onnxruntime.__version__}
    return _export(model, folder, about=about, ending="onnx", write=write, read=read)


def export_programs(model: FlexDiT, folder: Path) -> dict[str, Any]:
    """Write `stage0.pt2`, ... and `graphs.json`, each program loaded back and compared with the model.

    Run one with `torch.export.load("stage0.pt2").module()(hidden_states, timestep, class_labels=...)`. Arguments,
    result and errors are those of `export_onnx`, which needs further libraries.
    """

    def write(one: OneGraph, inputs: Inputs, path: Path) -> None:
        torch.export.save(_traced(one, inputs), path)

    def read(path: Path) -> Callable[..., Tensor]:
        return torch.export.load(path).module()

    return _export(model, folder, about={"format": "torch.export"}, ending="pt2", write=write, read=read)


def _export(
    model: FlexDiT,
    folder: Path,
    *,
    about: dict[str, Any],
    ending: str,
    write: Callable[[OneGraph, Inputs, Path], None],
    read: Callable[[Path], Callable[..., Tensor]],
) -> dict[str, Any]:
    if folder.exists():
        raise UserError("exists already", field=str(folder))
    edges, graphs = model.schedule.timetable.edges, []
    with folder_beside(folder) as temporary, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # exporters tell of their own deprecations
        for graph, (start, end) in zip(model.graphs(), pairwise(edges), strict=True):
            one, path = OneGraph(model, graph).eval(), temporary / f"stage{graph.stage}.{ending}"
            write(one, _inputs(model, _EXAMPLE, time=start), path)
            low, high = (edge * model.config["num_train_timesteps"] for edge in (start, end))
            difference = _compare(one, read(path), time=start)
            graphs.append({"file": path.name, "from_timestep": low, "to_timestep": high, "max_difference": difference})
        index = {
            **about,
            "torch": torch.__version__,
            "flexsearch": __version__,
            "schedule_digest": model.schedule.digest,
            "covers": "from_timestep <= timestep < to_timestep; the last graph its end as well",
            "inputs": _described(_inputs(model, _EXAMPLE, time=0.0)),
            "outputs": {
                "sample": {
                    "dtype": "float32",
                    "shape": ["batch", model.shape.out_channels, *model.shape.sample_size[1:]],
                }
            },
            "graphs": graphs,
        }
        (temporary / GRAPHS).write_text(json.dumps(index, indent=2) + "\n")
        temporary.chmod(0o755)
        temporary.rename(folder)
    return index


def _inputs(model: FlexDiT, batch: int, *, time: float) -> Inputs:
    generator = torch.Generator().manual_seed(batch)
    noisy = torch.randn(batch, *model.shape.sample_size, generator=generator)
    condition = random_condition(model.shape, batch=batch, generator=generator)
    contiguous = {name: value.contiguous() for name, value in condition.items()}
    return noisy, torch.full((batch,), time * model.config["num_train_timesteps"]), contiguous


def _traced(one: OneGraph, inputs: Inputs) -> torch.export.ExportedProgram:
    noisy, timestep, condition = inputs
    rows = {0: torch.export.Dim("batch")}
    shapes = {"hidden_states": rows, "timestep": rows, **dict.fromkeys(condition, rows)}
    return torch.export.export(one, (noisy, timestep), condition, dynamic_shapes=shapes)


def _compare(one: OneGraph, exported: Callable[..., Tensor], *, time: float) -> float:
    """Find the largest difference between a graph and the model, over batches that it was not traced with as well."""
    worst = 0.0
    for batch in _CHECKED:
        noisy, timestep, condition = _inputs(one.model, batch, time=time)
        expected, found = one(noisy, timestep, **condition), exported(noisy, timestep, **condition)
        difference = float((expected - found).abs().max())
        if not difference <= _RELATIVE_ROUNDING * float(expected.abs().max()):
            raise FlexsearchError(f"the graph of stage {one.graph.stage} differs by {difference:.3g} at batch {batch}")
        worst = max(worst, difference)
    return worst


def _described(inputs: Inputs) -> dict[str, Any]:
    noisy, timestep, condition = inputs
    given = {"hidden_states": noisy, "timestep": timestep, **condition}
    return {
        name: {"dtype": str(value.dtype).removeprefix("torch."), "shape": ["batch", *value.shape[1:]]}
        for name, value in given.items()
    }

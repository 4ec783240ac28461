"""ONNX of traced programs, also where torch's exporter needs help: complex rotary tables, and numbers near 0."""

from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO

import torch

OPSET = 20
_TAKEN_FOR_ZERO = 1e-7


def onnx_program(
    traced: torch.export.ExportedProgram,
    *,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
) -> torch.onnx.ONNXProgram:
    """Write a traced program in ONNX.

    Args:
        traced: is changed.
        inputs: their names; None keeps those of the arguments.
        outputs: their names.
    """
    traced = _with_views(traced)
    with redirect_stdout(StringIO()):  # the exporter tells its steps
        program = torch.onnx.export(
            traced,
            dynamo=True,
            optimize=not _has_tiny_numbers(traced),
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
        )
    assert program is not None, "without a file name, the exporter returns the program"
    return program


def _with_views(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Put views in the place of what adds a dimension to complex numbers, for which torch's exporter to ONNX has no
    form. Rotary tables are complex, inside of diffusers' layers, too; batches are their only size that is not fixed."""
    for module in _modules(program):
        for node in module.graph.find_nodes(op="call_function", target=torch.ops.aten.unsqueeze.default):
            if node.meta["val"].is_complex():
                sizes = [size if isinstance(size, int) else -1 for size in node.meta["val"].shape]
                with module.graph.inserting_before(node):
                    view = module.graph.call_function(torch.ops.aten.view.default, (node.args[0], sizes))
                view.meta = dict(node.meta)
                node.replace_all_uses_with(view)
                module.graph.erase_node(node)
        module.recompile()
    return program


def _has_tiny_numbers(program: torch.export.ExportedProgram) -> bool:
    """Tell whether numbers occur that the optimiser of torch's exporter takes for 0. To its denominators SANA adds such
    a one. Programs that run ONNX have optimisers of their own."""
    numbers = [value for module in _modules(program) for node in module.graph.nodes for value in node.args]
    return any(isinstance(value, float) and 0 < abs(value) < _TAKEN_FOR_ZERO for value in numbers)


def _modules(program: torch.export.ExportedProgram) -> list[torch.fx.GraphModule]:
    """List the graphs of a program, those inside of others included."""
    return [one for one in program.graph_module.modules() if isinstance(one, torch.fx.GraphModule)]

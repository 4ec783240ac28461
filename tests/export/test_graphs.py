"""Graphs of an exported model: each stage equals the model at any batch, and says which timesteps it covers."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import LATENT, TEXT, VIDEO
from diffusers import DiTTransformer2DModel, LatteTransformer3DModel, PixArtTransformer2DModel

from flexsearch.data.conditions import random_condition
from flexsearch.errors import FlexsearchError, UserError
from flexsearch.export import graphs
from flexsearch.export.graphs import export_onnx, export_programs, write_graphs
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families.pooling import Pooling
from flexsearch.schedule.families.sdtm import Sdtm
from flexsearch.schedule.timetable import Timetable

SMALL = {"num_layers": 3}
TWO_STAGES = Timetable(edges=(0.0, 0.25, 1.0), grids=(5, 3))
"""Grids that do not divide the 8 x 8 dense tokens."""


def sparse(base: Any, *, backbone: str = "dit", timetable: Timetable = TWO_STAGES) -> FlexDiT:
    schedule = DensitySchedule(segments=(Pooling(depth=1), Sdtm(sparse=0, dense=0)), timetable=timetable)
    model = FlexDiT.from_base(base, backbone=backbone, schedule=schedule)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape) * 0.1)
    return model.eval()


@pytest.fixture
def model() -> FlexDiT:
    return sparse(DiTTransformer2DModel(**LATENT | SMALL, num_embeds_ada_norm=10))


@pytest.fixture
def folder(model: FlexDiT, tmp_path: Path) -> Path:
    """What the graphs need of an exported folder."""
    model.save_pretrained(tmp_path / "out" / "transformer", safe_serialization=True)
    return tmp_path / "out"


def test_programs_equal_the_model_in_every_stage(model: FlexDiT, folder: Path) -> None:
    (line,) = write_graphs(folder, onnx=False, programs=True)
    assert "2 graphs" in line
    index = json.loads((folder / "torch_export" / "graphs.json").read_text())
    assert [(graph["from_timestep"], graph["to_timestep"]) for graph in index["graphs"]] == [(0, 250), (250, 1000)]
    assert index["inputs"]["hidden_states"] == {"dtype": "float32", "shape": ["batch", 4, 16, 16]}
    assert index["outputs"]["sample"]["shape"] == ["batch", 8, 16, 16]
    assert index["schedule_digest"] == model.schedule.digest
    noisy, labels = torch.randn(7, 4, 16, 16), torch.randint(11, (7,))
    for graph in index["graphs"]:
        program = torch.export.load(folder / "torch_export" / graph["file"]).module()
        timestep = torch.full((7,), graph["to_timestep"] - 1.0)
        with torch.no_grad():
            expected = model(noisy, timestep, class_labels=labels).sample
            torch.testing.assert_close(program(noisy, timestep, class_labels=labels), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="torch_export: exists already"):
        list(write_graphs(folder, onnx=False, programs=True))


def test_onnx_equals_the_model_within_rounding(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model = sparse(DiTTransformer2DModel(**LATENT | SMALL, num_embeds_ada_norm=10), timetable=Timetable(grids=(3,)))
    index = export_onnx(model, tmp_path / "onnx")
    assert index == json.loads((tmp_path / "onnx" / "graphs.json").read_text())
    (graph,) = index["graphs"]
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / graph["file"], providers=["CPUExecutionProvider"])
    assert {one.name for one in session.get_inputs()} == set(index["inputs"])
    noisy, timestep, labels = torch.randn(5, 4, 16, 16), torch.full((5,), 900.0), torch.arange(5)
    given = {"hidden_states": noisy.numpy(), "timestep": timestep.numpy(), "class_labels": labels.numpy()}
    (found,) = session.run(["sample"], given)
    with torch.no_grad():
        expected = model(noisy, timestep, class_labels=labels).sample
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("export", [export_onnx, export_programs])
def test_models_that_read_text(tmp_path: Path, export: Callable[..., dict[str, Any]]) -> None:
    sizes = PixArtTransformer2DModel(**TEXT | SMALL, use_additional_conditions=True)
    video = LatteTransformer3DModel(**VIDEO | SMALL)
    models = {
        "pixart": sparse(sizes, backbone="pixart"),
        "latte": sparse(video, backbone="latte", timetable=Timetable(grids=(3,), frames=2)),
    }
    for name, model in models.items():
        index = export(model, tmp_path / name)
        read = set(random_condition(model.shape, batch=1, generator=torch.Generator()))
        assert set(index["inputs"]) == {"hidden_states", "timestep", *read}
        assert all(graph["max_difference"] < 1e-4 for graph in index["graphs"])


def test_a_graph_that_differs_is_not_kept(model: FlexDiT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong:
        @staticmethod
        def module() -> Callable[..., torch.Tensor]:
            return lambda noisy, *_, **__: torch.zeros(len(noisy), 8, 16, 16)

    monkeypatch.setattr(graphs, "_traced", lambda *_: None)
    monkeypatch.setattr(torch.export, "save", lambda _, path: path.write_text(""))
    monkeypatch.setattr(torch.export, "load", lambda _: Wrong)
    with pytest.raises(FlexsearchError, match="the graph of stage 0 differs"):
        export_programs(model, tmp_path / "programs")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_named_before_anything_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    with pytest.raises(UserError, match=r'--onnx: onnxruntime is not installed; pip install "flexsearch\[onnx\]"'):
        list(write_graphs(folder, onnx=True, programs=True))
    assert [path.name for path in folder.iterdir()] == ["transformer"]

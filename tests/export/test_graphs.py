"""Graphs of an exported model: each stage equals the model at any batch, and says which timesteps it covers."""

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from builders import CENTRED, LATENT, MMDIT, ONE_SEQUENCE, PACKED, SANA, TEXT, VIDEO, WAN, Call
from diffusers import (
    DiTTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    LatteTransformer3DModel,
    PixArtTransformer2DModel,
    QwenImageTransformer2DModel,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    WanTransformer3DModel,
    ZImageTransformer2DModel,
)
from fences import ROOT, fences

from flexsearch.data.conditions import ClassConditions, random_condition
from flexsearch.diffusion.sampling import denoise, plan_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.errors import FlexsearchError, UserError
from flexsearch.export import graphs
from flexsearch.export.graphs import export_onnx, export_programs, write_graphs
from flexsearch.export.onnx_program import onnx_program
from flexsearch.models.backbones.rotary import complex_table, rotated
from flexsearch.models.data_gaussian import DataGaussian
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule import Cache, Dense, DensitySchedule, Gain, GuidanceRows, Pooling, Sampling, Sdtm, Timetable
from flexsearch.schedule.guidance import ALL_ROWS
from flexsearch.schedule.timetable import OwnGrid
from flexsearch.schedule.width import Width

SMALL = {"num_layers": 3}
TWO_STAGES = Timetable(edges=(0.0, 0.25, 1.0), grids=(5, 3))
"""Grids that do not divide the 8 x 8 dense tokens."""
PLAIN = Sampling(steps=2)
EVERY_AXIS = Sampling(
    steps=6,
    solver="ab2",
    cache=Cache(pattern="FFpFpn", first=1),
    guidance=GuidanceRows(start=0.1, end=0.9, every=2),
    gain=Gain(stream=0.9, at=2, skip=0.8),
)


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


def exported(model: FlexDiT, out: Path, *, sampling: Sampling = PLAIN, guidance: float = 1.0) -> Path:
    """What the graphs need of an exported folder."""
    base = out.parent / "base"
    for folder, transformer in ((base, model.base), (out, model)):
        transformer.save_pretrained(folder / "transformer", safe_serialization=True)
        FlowMatchEulerDiscreteScheduler().save_pretrained(folder / "scheduler")
    candidate = {**model.schedule.to_dict(), **sampling.to_dict()}
    (out / "candidate.json").write_text(json.dumps(candidate))
    recipe = {
        "base": {"checkpoint": str(base)},
        "data": {"name": "quickstart"},
        "sampling": {"guidance": guidance},
        "candidate": candidate,
    }
    (out / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return out


@pytest.fixture
def folder(model: FlexDiT, tmp_path: Path) -> Path:
    return exported(model, tmp_path / "out")


def planned(model: FlexDiT, sampling: Sampling = PLAIN, guidance: float = 1.0) -> dict[str, Any]:
    """The arguments of an export."""
    scheduler = FlowMatchEulerDiscreteScheduler()
    return {
        "plan": plan_of(model, scheduler, sampling, SamplingSettings(guidance=guidance)),
        "scheduler": scheduler,
    }


def test_programs_equal_the_model_in_every_stage(model: FlexDiT, folder: Path) -> None:
    (line,) = write_graphs(folder, onnx=False, programs=True)
    assert "2 graphs" in line
    index = json.loads((folder / "torch_export" / "graphs.json").read_text())
    assert [(graph["from_timestep"], graph["to_timestep"]) for graph in index["graphs"]] == [(0, 250), (250, 1000)]
    assert index["inputs"]["hidden_states"] == {"dtype": "float32", "shape": ["batch", 4, 16, 16]}
    assert index["outputs"]["sample"]["shape"] == ["batch", 8, 16, 16]
    assert index["schedule_digest"] == model.schedule.digest
    assert set(index) == {
        *("format", "torch", "flexsearch", "schedule_digest", "covers", "inputs", "outputs", "graphs"),
    }
    assert [set(graph) for graph in index["graphs"]] == [
        {"file", "from_timestep", "to_timestep", "max_difference"},
        {"file", "from_timestep", "to_timestep", "max_difference"},
    ]
    assert [graph["file"] for graph in index["graphs"]] == ["stage0.pt2", "stage1.pt2"]
    noisy, labels = torch.randn(7, 4, 16, 16), torch.randint(11, (7,))
    for graph in index["graphs"]:
        program = torch.export.load(folder / "torch_export" / graph["file"]).module()
        timestep = torch.full((7,), graph["to_timestep"] - 1.0)
        with torch.no_grad():
            expected = model(noisy, timestep, class_labels=labels).sample
            torch.testing.assert_close(program(noisy, timestep, class_labels=labels), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="torch_export: exists already"):
        list(write_graphs(folder, onnx=False, programs=True))


@pytest.mark.parametrize("kind", [pytest.param("onnx", marks=pytest.mark.slow), "torch_export"])
def test_a_narrow_model_is_exported(tmp_path: Path, kind: str) -> None:
    """Its graph equals it at every batch, which the export itself checks; so with a module on a grid that is not
    square, between whose tokens is interpolated, or resampled as is learned."""
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    model = FlexDiT.from_base(DiTTransformer2DModel(**LATENT | {"num_layers": 3}, num_embeds_ada_norm=10)).eval()
    segments = (
        Dense(depth=1, width=Width(clean_heads=4, clean_hidden=2)),
        Sdtm(sparse=0, dense=0, resample="bilinear" if kind == "onnx" else "learned", grid=OwnGrid(clean="3x5")),
    )
    model.set_schedule(DensitySchedule(segments=segments))
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape) * 0.1)
    model.fuse()
    export = export_onnx if kind == "onnx" else export_programs
    index = export(model, tmp_path / "out", **planned(model))
    assert len(index["graphs"]) == 1
    assert index["schedule_digest"] == model.schedule.digest


@dataclass(frozen=True, kw_only=True)
class OnnxExport:
    """What was exported, and where to."""

    model: FlexDiT
    arguments: dict[str, Any]
    folder: Path
    index: dict[str, Any]


def onnx_export(folder: Path, sampling: Sampling) -> OnnxExport:
    """A model of one stage under guidance, as graphs that take seconds to export."""
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    model = sparse(DiTTransformer2DModel(**LATENT | SMALL, num_embeds_ada_norm=10), timetable=Timetable(grids=(3,)))
    directions, _ = torch.linalg.qr(torch.randn(1024, 3))
    known = {"directions": directions.T.reshape(3, 4, 16, 16), "variances": torch.tensor([4.0, 3.0, 2.0, 0.5])}
    model.set_data_gaussian(DataGaussian(means=torch.randn(11, 4, 16, 16), **known))
    arguments = planned(model, sampling, 2.0)
    index = export_onnx(model, folder / "exported" / "onnx", **arguments)
    return OnnxExport(model=model, arguments=arguments, folder=folder, index=index)


@pytest.fixture(scope="module")
def every_axis(tmp_path_factory: pytest.TempPathFactory) -> OnnxExport:
    return onnx_export(tmp_path_factory.mktemp("every_axis"), EVERY_AXIS)


def test_onnx_equals_the_model_within_rounding(every_axis: OnnxExport) -> None:
    import onnxruntime

    folder, index = every_axis.folder / "exported" / "onnx", every_axis.index
    assert index == json.loads((folder / "graphs.json").read_text())
    first = every_axis.arguments["plan"].steps[0].graph
    assert index["steps"][0]["graph"] == "stage0.onnx", "it reuses nothing and leaves nothing"
    session = onnxruntime.InferenceSession(folder / "stage0.onnx", providers=["CPUExecutionProvider"])
    assert {one.name for one in session.get_inputs()} == set(index["inputs"])
    noisy, timestep, labels = torch.randn(5, 4, 16, 16), torch.full((5,), 900.0), torch.arange(5)
    given = {"hidden_states": noisy.numpy(), "timestep": timestep.numpy(), "class_labels": labels.numpy()}
    (found,) = session.run(["sample"], given)
    with torch.no_grad():
        expected = every_axis.model(noisy, timestep, class_labels=labels, graph=first).sample
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)


@pytest.fixture
def untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program is the module itself: tracing takes ten seconds a graph."""
    saved: dict[str, torch.nn.Module] = {}

    def save(module: torch.nn.Module, path: Path) -> None:
        path.touch()
        saved[path.name] = module

    monkeypatch.setattr(graphs, "_traced", lambda one, _: one)
    monkeypatch.setattr(torch.export, "save", save)
    monkeypatch.setattr(torch.export, "load", lambda path: SimpleNamespace(module=lambda: saved[path.name]))


def test_reuse_has_a_graph_for_each_computation(model: FlexDiT, untraced: None, tmp_path: Path) -> None:
    """And the steps say which one runs, on what. That they can be traced is tested on ONNX, and slowly on programs."""
    folder = exported(model, tmp_path / "out", sampling=EVERY_AXIS, guidance=2.0)
    (line,) = write_graphs(folder, onnx=False, programs=True)
    index = json.loads((folder / "torch_export" / "graphs.json").read_text())
    files = [graph["file"] for graph in index["graphs"]]
    assert f"{len(files)} graphs" in line
    assert len(set(files)) == len(files)
    residual = {"residual": {"dtype": "float32", "shape": ["batch", 64, 24]}}
    for graph in index["graphs"]:
        assert graph["reads"] == (residual if "_partial" in graph["file"] else {})
        assert graph["leaves"] == (residual if "_leaving" in graph["file"] else {})
        assert graph["max_difference"] < 1e-4
    plan = planned(model, EVERY_AXIS, 2.0)["plan"]
    assert Sampling.from_dict(index["sampling"]) == EVERY_AXIS
    for step, expected in zip(index["steps"], plan.steps, strict=True):
        assert (step["time"], step["rows"]) == (expected.time, expected.graph.rows)
        assert (step["reuses"], step["theta"]) == (expected.graph.reuses, expected.theta)
        assert step["timestep"] == pytest.approx(1000 * expected.time)
        assert step["graph"] is None if expected.letter == "n" else step["graph"] in files
    assert {step["graph"] for step in index["steps"]} - {None} == set(files)


def assert_the_page_draws(export: OnnxExport, patch: pytest.MonkeyPatch) -> None:
    """Check that the loop of the page draws what flexsearch draws."""
    patch.chdir(export.folder)
    page: dict[str, Any] = {}
    (code,) = [one.text for one in fences(ROOT / "docs" / "reference" / "export.md") if one.language == "python"]
    exec(code, page)
    noise, conditions = torch.randn(3, 4, 16, 16), ClassConditions(num_classes=10)
    given, none = conditions.of_samples(range(3)), conditions.none(3)
    settings = SamplingSettings(guidance=2.0)
    expected = denoise(export.model, noise=noise, condition=given, none=none, settings=settings, **export.arguments)
    numpy = [{name: value.numpy() for name, value in rows.items()} for rows in (given, none)]
    found = torch.from_numpy(page["draw"](noise.numpy(), *numpy, 2.0))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_loop_of_the_page_draws_what_flexsearch_draws(
    every_axis: OnnxExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [step.letter for step in every_axis.arguments["plan"].steps] == list("FFpFpn")
    assert len(every_axis.index["graphs"]) == 3
    assert_the_page_draws(every_axis, monkeypatch)


def test_the_loop_of_the_page_reuses_modules_and_starts_from_the_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every full step leaves them, so two graphs do."""
    cache = Cache(pattern="FpFpn", first=1, reuse="modules")
    export = onnx_export(tmp_path, replace(EVERY_AXIS, steps=6, shift=1.5, start="gaussian", cache=cache))
    steps = export.arguments["plan"].steps
    assert [step.letter for step in steps] == list("gFpFpn")
    assert {step.graph.rows for step in steps if step.letter == "p"} == {1, 2}
    assert [step.theta for step in steps] == pytest.approx([0, 0, 0, 0, 0.6071, 1.3077], abs=1e-3)
    assert len(export.index["graphs"]) == 2
    assert_the_page_draws(export, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("export", [export_onnx, export_programs])
def test_models_that_read_text(tmp_path: Path, export: Call) -> None:
    sizes = PixArtTransformer2DModel(**TEXT | SMALL, use_additional_conditions=True)
    video = LatteTransformer3DModel(**VIDEO | SMALL)
    models = {
        "pixart": sparse(sizes, backbone="pixart"),
        "latte": sparse(video, backbone="latte", timetable=Timetable(grids=(3,), frames=2)),
    }
    for name, model in models.items():
        sampling = replace(EVERY_AXIS, guidance=ALL_ROWS) if name == "pixart" else PLAIN
        index = export(model, tmp_path / name, **planned(model, sampling))
        read = set(random_condition(model.shape, batch=1, generator=torch.Generator()))
        assert set(index["inputs"]) == {"hidden_states", "timestep", *read}
        assert all(graph["max_difference"] < 1e-4 for graph in index["graphs"])


BASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "sd3": (SD3Transformer2DModel, MMDIT | SMALL),
    "flux": (FluxTransformer2DModel, PACKED | {"num_single_layers": 1, "guidance_embeds": True}),
    "qwen_image": (QwenImageTransformer2DModel, CENTRED | SMALL),
    "z_image": (ZImageTransformer2DModel, ONE_SEQUENCE | {"n_layers": 3}),
    "sana": (SanaTransformer2DModel, SANA | SMALL),
    "wan": (WanTransformer3DModel, WAN | SMALL),
}


@pytest.mark.slow
@pytest.mark.parametrize("export", [export_onnx, export_programs])
@pytest.mark.parametrize("backbone", BASES)
def test_bases_with_text_encoders_of_their_own(backbone: str, tmp_path: Path, export: Call) -> None:
    """Each of whose stages equals the model at every batch, which the export itself checks; of SD3, with reuse."""
    torch.manual_seed(0)
    base_class, config = BASES[backbone]
    timetable, sampling = TWO_STAGES, PLAIN
    if backbone == "wan":
        timetable = Timetable(grids=(3,), frames=2)
    elif backbone == "sd3":
        timetable, sampling = Timetable(grids=(3,)), replace(EVERY_AXIS, guidance=ALL_ROWS)
    model = sparse(base_class.from_config(config), backbone=backbone, timetable=timetable)
    index = export(model, tmp_path / "out", **planned(model, sampling))
    read = set(random_condition(model.shape, batch=1, generator=torch.Generator()))
    assert set(index["inputs"]) == {"hidden_states", "timestep", *read}
    assert len(index["graphs"]) == (2 if backbone == "sd3" else len(timetable.grids))
    assert all(graph["max_difference"] < 1e-4 for graph in index["graphs"])


def test_a_mask_of_captions_is_of_any_batch(tmp_path: Path) -> None:
    """Qwen-Image: text and image share a softmax, padding of the text is not read, and keys are turned by place."""
    torch.manual_seed(0)
    base = QwenImageTransformer2DModel.from_config(CENTRED | {"num_layers": 2})
    model = FlexDiT.from_base(base, backbone="qwen_image").eval()
    index = export_programs(model, tmp_path / "out", **planned(model))
    assert [graph["max_difference"] for graph in index["graphs"]] == [0.0]


class Inside(torch.nn.Module):
    """A rotation by complex numbers inside of autocast, as Z-Image's refiners have it, and SANA's denominator."""

    def forward(self, rows: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        with torch.amp.autocast("cuda", enabled=False):
            table = complex_table(places, (4, 4), theta=10.0, dtype=torch.float64)
            turned = rotated(rows, table)
        return turned / (rows.relu() + 1e-15)


def test_rotations_and_small_denominators_have_an_onnx_form(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    rows, places = torch.rand(3, 5, 2, 8), torch.rand(3, 5, 2)
    rows[0, 0], places[0, 0] = 0.0, 0.0
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(Inside(), (rows, places), dynamic_shapes=(batch, batch))
    onnx_program(program).save(tmp_path / "inside.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "inside.onnx", providers=["CPUExecutionProvider"])
    for num in (1, 3):
        given = {"rows": rows[:num].numpy(), "places": places[:num].numpy()}
        (found,) = session.run(None, given)
        torch.testing.assert_close(torch.from_numpy(found), Inside()(rows[:num], places[:num]), rtol=1e-4, atol=1e-4)


def test_a_graph_that_differs_is_not_kept(model: FlexDiT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong:
        @staticmethod
        def module() -> Callable[..., torch.Tensor]:
            return lambda noisy, *_, **__: torch.zeros(len(noisy), 8, 16, 16)

    monkeypatch.setattr(graphs, "_traced", lambda *_: None)
    monkeypatch.setattr(torch.export, "save", lambda _, path: path.write_text(""))
    monkeypatch.setattr(torch.export, "load", lambda _: Wrong)
    with pytest.raises(FlexsearchError, match="the graph of stage 0 differs"):
        export_programs(model, tmp_path / "programs", **planned(model))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_named_before_anything_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    with pytest.raises(UserError, match=r'--onnx: onnxruntime is not installed; pip install "flexsearch\[onnx\]"'):
        list(write_graphs(folder, onnx=True, programs=True))
    assert not {"onnx", "torch_export"} & {path.name for path in folder.iterdir()}

"""Bad input gets one clear line and exit status 2: field, rule, value, nearest legal one. Never a traceback."""

import errno
import importlib.util
import json
import warnings
from pathlib import Path

import pytest
import yaml
from builders import Call

from flexsearch.cli.typed import as_typed
from flexsearch.errors import UserError
from flexsearch.old_names import OldName
from flexsearch.paths import as_word

SPACES = Path(__file__).parents[2] / "search_spaces"

BAD_FIELDS = [
    ("space.segments.0.depth={int: [3, 1]}", "space.segments[0].depth.int: low <= high must hold, but got [3, 1]"),
    ("space.segments.1.sparse=40", "depths must add up to exactly 12 blocks"),
    ("space.timetable.clean_grid=9", "space.timetable.clean_grid: must be in [1, 8], but got 9; nearest legal: 8"),
    ("space.sampler_steps={choice: []}", "space.sampler_steps.choice: choice must list at least one value"),
    ("space.sampler_steps={int: [1, 1000000000]}", "space.sampler_steps.int: must have at most 10,000 values"),
    ("space.sampler_steps=1000000000000", "space.sampler_steps: must be at most 10000, but got 1000000000000"),
    ("space.timetable.stages=1000000", "space.timetable.stages: must be at most 10000, but got 1000000"),
    ("space.segmnets=1", "space.segmnets: is not a known field; nearest legal: segments"),
    ("search.trials=0", "search.trials: Input"),
    ("search.algorithm=bayes", "search.algorithm"),
    ("search.trails=3", "search.trails: is not a known field; nearest legal: trials"),
    ("trial.learning_rate=-1", "trial.learning_rate"),
    ("trial.learning_rate=.inf", "trial.learning_rate"),
    ("trial.dtype=fp8", "trial.dtype"),
    ("objectives.quality.extractor=clip", "objectives.quality.extractor"),
    ("objectives.quality.images=1", "objectives.quality.images"),
    ("objectives.latency.max_ms=0", "objectives.latency.max_ms"),
    ("base.backbone=unet", "base.backbone"),
    ("data.name=cifar", "data.name"),
    ("nonsense", "--set: must be key=value, but got 'nonsense'"),
    ("name.x=1", "--set name.x"),
    ("base.checkpoint=./nowhere", "base.checkpoint"),
    ("base.checkpoint=someone/unknown", "someone/unknown is not on this machine"),
]


@pytest.mark.parametrize(("override", "message"), BAD_FIELDS, ids=[field for field, _ in BAD_FIELDS])
def test_bad_fields(flexsearch: Call, override: str, message: str) -> None:
    for command in ("plan", "run"):
        outcome = flexsearch(command, SPACES / "quickstart.yaml", "--set", override)
        assert outcome.code == 2
        assert outcome.out == ""
        assert message.replace("Input", "must be") in outcome.err


def test_sparse_attention_of_few_tokens_is_refused_with_its_reason(flexsearch: Call) -> None:
    """By `profile`, too: it would time nothing but noise."""
    segments = "space.segments=[{family: blocksparse, depth: 12, blocks: {clean: {choice: [2, 4]}}}]"
    for command in ("plan", "profile"):
        outcome = flexsearch(command, SPACES / "quickstart.yaml", "--set", segments)
        assert outcome.code == 2
        assert outcome.err == (
            "error: space.segments: the family blocksparse needs a model whose tokens attend to at least 4,096, but "
            "here it is 64: what it saves of so few is below a latency's noise\n"
        )


def test_the_file_is_checked_before_its_base_is_looked_for(flexsearch: Call) -> None:
    wrong = ("--set", "space.segmnets=1", "--set", "base.checkpoint=./nowhere")
    outcome = flexsearch("plan", SPACES / "quickstart.yaml", *wrong)
    assert outcome.code == 2
    assert outcome.err == "error: space.segmnets: is not a known field; nearest legal: segments\n"


def test_the_nearest_run_directory_is_one_that_is_there(
    flexsearch: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["flexsearch"])
    assert flexsearch("front", "runs/fashoin").err.endswith("nearest legal: flexsearch run SPACE makes one\n")
    for name in ("fashion", "dit_xl"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.yaml").touch()
    for given, nearest in (
        ("runs/fashoin", "runs/fashion"),
        ("runs", "runs/dit_xl, runs/fashion"),
        ("x", "runs/dit_xl, "),
    ):
        outcome = flexsearch("front", given)
        assert outcome.code == 2
        assert f"{given}: is not a run directory: it holds no config.yaml; nearest legal: {nearest}" in outcome.err


@pytest.mark.parametrize(
    ("started", "on_path", "by_uv", "program"),
    [
        ("/venv/bin/flexsearch", "/venv/bin/flexsearch", False, "flexsearch"),
        ("/venv/bin/flexsearch", "/venv/bin/flexsearch", True, "uv run flexsearch"),
        (".venv/bin/flexsearch", None, False, ".venv/bin/flexsearch"),
        ("/site/flexsearch/__main__.py", None, True, "uv run python -m flexsearch"),
    ],
)
def test_hints_are_written_as_the_program_was_started(
    monkeypatch: pytest.MonkeyPatch, started: str, on_path: str | None, by_uv: bool, program: str
) -> None:
    monkeypatch.setattr("sys.argv", [started])
    monkeypatch.setattr("shutil.which", lambda _: on_path)
    if by_uv:
        monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    assert as_typed("x: flexsearch run a; runs/flexsearch b") == f"x: {program} run a; runs/flexsearch b"
    assert as_typed("accelerate launch -m flexsearch train") == "accelerate launch -m flexsearch train"


@pytest.mark.parametrize(
    ("path", "word"), [("runs/a", "runs/a"), ("-x", "./-x"), ("a b", "'a b'"), ("-a b", "'./-a b'")]
)
def test_a_path_in_a_hint_is_one_word_and_no_option(path: str, word: str) -> None:
    assert as_word(path) == word


def _foreign(folder: Path, **config: object) -> Path:
    """A model in diffusers' layout, of which only the configuration is there."""
    (folder / "transformer").mkdir(parents=True)
    (folder / "transformer" / "config.json").write_text(json.dumps(config))
    return folder


def test_a_base_of_another_architecture_is_refused_by_its_class(flexsearch: Call, tmp_path: Path) -> None:
    aura = _foreign(tmp_path / "aura", _class_name="AuraFlowTransformer2DModel", num_mmdit_layers=4, patch_size=2)
    exported = _foreign(tmp_path / "exported", _class_name="FlexDiT", backbone="dit")
    pixart = _foreign(tmp_path / "pixart", _class_name="PixArtTransformer2DModel", caption_channels=4096)
    partial = _foreign(tmp_path / "partial", _class_name="DiTTransformer2DModel", num_layers=12)
    for folder, message in (
        (
            aura,
            "AuraFlowTransformer2DModel is not supported; supported: DiT, Flux, Latte, PixArt, QwenImage, SD3, Sana, "
            "Wan, ZImage; how to add one: docs/tutorials/backbone.md",
        ),
        (exported, "is an exported schedule, not a dense base; its base is in its recipe.yaml"),
        (pixart, "base.backbone: must be 'pixart' for this base, but got 'dit'"),
        (partial, "config.json: num_embeds_ada_norm: is missing"),
    ):
        outcome = flexsearch("plan", SPACES / "quickstart.yaml", "--set", f"base.checkpoint={folder}")
        assert outcome.code == 2
        assert message in outcome.err
    assert "not supported" in flexsearch("sample", aura, "--out", tmp_path / "x.png").err


def test_bad_files(flexsearch: Call, tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    (tmp_path / "code.yaml").write_text("a: !!python/object/apply:os.system ['touch hacked']\n")
    (tmp_path / "empty.yaml").write_text("")
    for name, message in (
        ("missing", "cannot be read (No such file or directory)"),
        ("list", "must be a mapping, but got list"),
        ("broken", "is not YAML"),
        ("code", "is not YAML"),
        ("empty", "must be a mapping, but got NoneType"),
    ):
        outcome = flexsearch("plan", tmp_path / f"{name}.yaml")
        assert (outcome.code, outcome.out) == (2, "")
        assert message in outcome.err
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["front", "nowhere"], "nowhere: is not a run directory"),
        (["show", "nowhere", "1"], "nowhere: is not a run directory"),
        (["export", "nowhere", "1", "out"], "nowhere: is not a run directory"),
        (["dashboard", "nowhere"], "nowhere: is not a run directory"),
        (["sample", "./nowhere", "--out", "x.png"], "base.checkpoint"),
        (["sample", "embedded:quickstart", "--out", "x.bmp"], "--out: must end in .png or .jpg, but got 'x.bmp'"),
        (["sample", "embedded:quickstart", "--out", "x.png", "--num", "0"], "--num: must be at least 1, but got 0"),
        (["sample", "embedded:quickstart", "--out", "x.png", "--seeds", "a,1"], "--seeds: must be whole numbers"),
        (["sample", "embedded:quickstart", "--out", "x.png", "--dense"], "--dense: compares an exported model"),
        (["run"], "Missing argument"),
        (["rnu"], "No such command"),
        (["plan", "x.yaml", "--jsn"], "No such option"),
        (["run", str(SPACES / "quickstart.yaml"), "--executor", "cluster"], "--executor"),
        (["run", str(SPACES / "quickstart.yaml"), "--storage", "nonsense"], "--storage"),
        (["pretrain", str(SPACES / "quickstart.yaml")], "pretrain: is missing"),
    ],
    ids=lambda value: " ".join(value[:1]) if isinstance(value, list) else None,
)
def test_bad_arguments(
    flexsearch: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = flexsearch(*arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_what_a_large_model_lacks_is_said_at_once_in_a_line_each(
    flexsearch: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    outcome = flexsearch("run", SPACES / "dit_xl.yaml")
    assert outcome.code == 2
    lines = outcome.err.splitlines()[-3:]
    assert all(line.startswith("error: ") and len(line) <= 300 for line in lines)
    parts = ("VIRTUAL_imagenet256_labeled.npz", "extract_features.py", "hf download facebook/DiT-XL-2-256")
    for part, line in zip(parts, lines, strict=True):
        assert part in line
    assert "data.root" in lines[1]
    assert not (tmp_path / "runs").exists()


def test_data_that_do_not_fit_the_base_are_refused(flexsearch: Call, tiny_space: Call, base_folder: Path) -> None:
    config = yaml.safe_load(tiny_space().read_text())
    assert config["base"]["checkpoint"] == str(base_folder)
    weights = base_folder / "transformer" / "config.json"
    before = weights.read_text()
    try:
        weights.write_text(before.replace('"num_layers": 8', '"num_layers": 9'))
        space = tiny_space(objectives={"quality": {"images": 21}})  # inputs that no other test has loaded
        outcome = flexsearch("run", space, "--run-dir", space.parent / "run")
    finally:
        weights.write_text(before)
    assert outcome.code == 2
    assert "does not fit a dit backbone" in outcome.err


def test_our_own_fault_is_exit_status_1_with_a_log(
    flexsearch: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def breaks(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("flexsearch.config.load_config", breaks)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    outcome = flexsearch("plan", SPACES / "quickstart.yaml")
    assert outcome.code == 1
    assert "internal error: ZeroDivisionError: ours" in outcome.err
    log = Path(outcome.err.strip().rsplit(" ", 1)[1])
    assert "Traceback" in log.read_text()


def test_our_own_fault_is_told_where_the_log_finds_no_room(flexsearch: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise ZeroDivisionError("ours")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("flexsearch.config.load_config", breaks)
    monkeypatch.setattr("flexsearch.cli.ending.tempfile.NamedTemporaryFile", full)
    outcome = flexsearch("plan", SPACES / "quickstart.yaml")
    assert outcome.code == 1
    assert outcome.err.splitlines() == [
        "internal error: ZeroDivisionError: ours",
        "the traceback could not be kept (No space left on device)",
    ]


def test_an_old_name_is_one_note_and_other_warnings_are_shown(
    flexsearch: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warns(*_: object) -> None:
        warnings.warn("a.b is called a.c now", OldName, stacklevel=1)
        warnings.warn("a column is empty", UserWarning, stacklevel=1)
        raise UserError("is wrong", field="a.c")

    monkeypatch.setattr("flexsearch.config.load_config", warns)
    with pytest.warns(UserWarning, match="a column is empty"):
        outcome = flexsearch("plan", SPACES / "quickstart.yaml")
    assert outcome.code == 2
    assert outcome.err == "note: a.b is called a.c now\nerror: a.c: is wrong\n"


def test_graphs_need_their_libraries_before_anything_is_exported(
    flexsearch: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None if name == "onnxscript" else find(name, *_))
    outcome = flexsearch("export", tmp_path / "run", 1, tmp_path / "out", "--onnx", "--torch-export")
    assert outcome.code == 2
    assert 'error: --onnx: onnxscript is not installed; pip install "flexsearch[onnx]"' in outcome.err
    assert not (tmp_path / "out").exists()


def test_the_dashboard_names_its_extra(flexsearch: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *_: None if name == "optuna_dashboard" else find(name, *_)
    )
    outcome = flexsearch("dashboard", tmp_path)
    assert outcome.code == 2
    assert 'optuna_dashboard is not installed; pip install "flexsearch[dashboard]"' in outcome.err

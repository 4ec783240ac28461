"""The long training: it resumes to the bit, more processes change nothing, and it ends as an exported model."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from builders import Call

from flexsearch.errors import NotFiniteError, UserError
from flexsearch.export import folder as folder_module
from flexsearch.export import processes as processes_module
from flexsearch.export.drawable import load_model
from flexsearch.export.folder import CANDIDATE
from flexsearch.export.processes import Processes
from flexsearch.export.recipe import RECIPE, load_recipe
from flexsearch.export.train import CHECKPOINT, is_finished, train
from flexsearch.export.training_log import TrainingRecord, read_evaluations
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.fold import unfold_gain
from flexsearch.schedule import Gain, Sampling
from flexsearch.schedule.gain import NO_GAIN
from flexsearch.tracking import check_tracker


def run(folder: Path, out: Path, *overrides: str, report: Callable[[TrainingRecord], None] = lambda _: None) -> None:
    recipe = load_recipe(folder, overrides)
    assert not is_finished(out, recipe)
    train(recipe, folder=folder, out=out, processes=Processes(), report=report)
    assert is_finished(out, recipe)


def log(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "training.csv").set_index("update")


def weights(out: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = FlexDiT.from_pretrained(out).state_dict()
    return found


def assert_same(one: Path, other: Path) -> None:
    here, there = weights(one), weights(other)
    assert here.keys() == there.keys()
    assert all(torch.equal(here[name], there[name]) for name in here)
    assert log(one)["loss"].equals(log(other)["loss"])
    assert read_evaluations(one) == read_evaluations(other)


def dies_after(update: int) -> Callable[[TrainingRecord], None]:
    def report(record: TrainingRecord) -> None:
        if record.update == update:
            raise RuntimeError("the process dies here")

    return report


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A training that nothing interrupted."""

    out: Path
    records: list[TrainingRecord]


@pytest.fixture(scope="module")
def whole(write_recipe: Call, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("whole")
    trained = Trained(out=folder / "out", records=[])
    run(write_recipe(folder / "recipe"), trained.out, report=trained.records.append)
    return trained


def test_the_end_is_an_exported_model_that_can_be_trained_further(whole: Trained, tmp_path: Path) -> None:
    out, records = whole.out, whole.records
    assert [one.update for one in records] == [0, 1, 2, 3, 4, 5, 6]
    assert [one.update for one in records if one.measured] == [0, 3, 6]
    assert list(log(out).index) == list(range(7))
    assert not (out / "checkpoint").exists()
    recipe = load_recipe(out)
    assert (recipe.trained, recipe.start) == (6, "transformer")
    assert load_model(str(out)).sampling == Sampling(steps=2)
    card = (out / "README.md").read_text()
    assert "Trained for 6 updates of batch 8" in card
    assert "Before training" in card
    assert "After 6 updates" in card
    first = read_evaluations(out)[6][0].value
    further = tmp_path / "further"
    run(out, further, "training.updates=2")
    assert read_evaluations(further)[0][0].value == pytest.approx(first, rel=1e-6), "it begins where the first ended"
    assert load_recipe(further).trained == 8
    assert "trained for 6 updates before" in (further / "README.md").read_text()


def test_the_whole_sampling_is_trained_and_judged(recipe_folder: Call, tmp_path: Path) -> None:
    """Weights carry the gain in the end, and a further training begins without it and ends with it."""
    gain = Gain(stream=0.9, skip=0.8)
    given = (
        "candidate.solver=ab2",
        "candidate.cache={pattern: Fp, order: 0}",
        "candidate.gain={stream: 0.9, skip: 0.8}",
    )
    folder = recipe_folder()
    run(folder, tmp_path / "plain", "training.updates=2", "training.evaluate_every=2")
    run(folder, tmp_path / "out", "training.updates=2", "training.evaluate_every=2", *given)
    plain, found = load_recipe(tmp_path / "plain"), load_recipe(tmp_path / "out")
    assert read_evaluations(tmp_path / "plain") != read_evaluations(tmp_path / "out")
    assert log(tmp_path / "plain")["loss"].equals(log(tmp_path / "out")["loss"]), "training knows no gain"
    assert (plain.folded, found.folded) == (None, gain)
    assert found.chosen.sampling.gain == gain
    assert load_model(str(tmp_path / "out")).sampling == replace(found.chosen.sampling, gain=NO_GAIN)
    run(tmp_path / "out", tmp_path / "further", "training.updates=0")
    assert load_recipe(tmp_path / "further").folded == gain
    here, there = weights(tmp_path / "out"), weights(tmp_path / "further")
    assert all(torch.allclose(here[name], there[name], rtol=1e-5, atol=0) for name in here)
    carried = FlexDiT.from_pretrained(tmp_path / "out")
    unfold_gain(carried, gain)
    trained = weights(tmp_path / "plain")
    for name, value in carried.state_dict().items():
        torch.testing.assert_close(value, trained[name], rtol=1e-5, atol=0)


def test_min_snr_weighs_the_losses(recipe_folder: Call, tmp_path: Path) -> None:
    """Under flow matching each weight is below 1, so that the same first batch has a lower loss."""
    folder = recipe_folder(updates=1, evaluate_every=None)
    for weighting in ("none", "min_snr"):
        run(folder, tmp_path / weighting, f"training.loss_weighting={weighting}")
    plain, weighted = (log(tmp_path / weighting)["loss"][1] for weighting in ("none", "min_snr"))
    assert 0 < weighted < plain
    assert "Min-SNR-5 weights" in (tmp_path / "min_snr" / "README.md").read_text()


@pytest.mark.parametrize("update", [1, 4, 5])
def test_a_run_that_died_ends_as_one_that_did_not(
    whole: Trained, recipe_folder: Call, tmp_path: Path, update: int
) -> None:
    folder = recipe_folder()
    with pytest.raises(RuntimeError, match="dies here"):
        run(folder, tmp_path / "died", report=dies_after(update))
    seen: list[int] = []
    run(folder, tmp_path / "died", report=lambda record: seen.append(record.update))
    assert seen[-1] == 6
    assert min(seen) == (0 if update < 2 else 5 if update == 5 else 3), "from the last checkpoint"
    assert_same(whole.out, tmp_path / "died")


UNSHARED = "objectives.quality.images=22"
"""Inputs of which a process has loaded none in float32, and which no other test takes in float64."""


@pytest.mark.usefixtures("double_precision")
def test_neither_parts_nor_checkpointing_change_the_losses(recipe_folder: Call, tmp_path: Path) -> None:
    folder = recipe_folder(evaluate_every=None)
    parts = ("training.gradient_accumulation=4", "training.gradient_checkpointing=true")
    for name, overrides in (("whole", ()), ("parts", parts)):
        with pytest.raises(RuntimeError, match="dies here"):  # trained, but not exported
            run(folder, tmp_path / name, UNSHARED, *overrides, report=dies_after(6))
    whole, found = (log(tmp_path / name)["loss"].to_numpy() for name in ("whole", "parts"))
    assert len(whole) == 7
    assert found[1:] == pytest.approx(whole[1:], rel=1e-9)
    with pytest.raises(
        UserError, match=r"training\.batch: must be a multiple of 1 processes x 3 parts.*nearest legal.*9"
    ):
        run(folder, tmp_path / "odd", "training.gradient_accumulation=3")


def test_a_training_that_diverges_is_one_line_and_keeps_its_last_good_checkpoint(
    recipe_folder: Call, tmp_path: Path
) -> None:
    with pytest.raises(NotFiniteError, match=r"learning_rate: the loss is not finite after update 2$"):
        run(recipe_folder(learning_rate=1e30, save_every=1), tmp_path / "out")
    state = torch.load(tmp_path / "out" / CHECKPOINT, weights_only=True)
    assert state["num_done"] == 1
    assert all(bool(weight.isfinite().all()) for weight in state["model"].values())
    assert not (tmp_path / "out" / CANDIDATE).exists(), "nothing is exported"


def test_a_changed_recipe_is_refused_by_name(recipe_folder: Call, tmp_path: Path) -> None:
    folder, out = recipe_folder(), tmp_path / "out"
    with pytest.raises(RuntimeError, match="dies here"):
        run(folder, out, report=dies_after(3))
    with pytest.raises(UserError, match=r"training\.learning_rate: differs from the recipe"):
        is_finished(out, load_recipe(folder, ["training.learning_rate=0.5"]))
    run(folder, out, "training.gradient_accumulation=2", "training.save_every=50")


def test_a_log_that_is_not_installed_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r'training\.log: wandb is not installed; pip install "flexsearch\[wandb\]"'):
        check_tracker("wandb", field="training.log")


def test_one_process_in_place_of_two_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """`accelerate launch --cpu --num_processes 2` starts one process, and says nothing."""
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    for name in processes_module._HAS_PEERS:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="accelerate launch --multi_gpu --num_processes 2"):
        Processes()


def program(folder: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "flexsearch", "train", str(folder), "--out", str(out)]


DOUBLE = """
import torch
torch.Tensor.float = torch.Tensor.double
torch.set_default_dtype(torch.float64)
from flexsearch.cli.app import main
from flexsearch.export import folder
folder._verify = lambda *_: None
main()
"""


@pytest.mark.slow
@pytest.mark.usefixtures("double_precision")
def test_two_processes_have_the_losses_of_one(
    recipe_folder: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64, where the last bit of a product depends on where in memory its weights lie: what is exported is not
    compared to the bit."""
    monkeypatch.setattr(folder_module, "_verify", lambda *_: None)
    folder = recipe_folder()
    run(folder, tmp_path / "one", UNSHARED)
    (tmp_path / "double.py").write_text(DOUBLE)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command = [tmp_path / "double.py", "train", folder, "--out", tmp_path / "two", "--set", UNSHARED]
    two = [*launch, *map(str, command)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(two, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "2 processes on" in ended.stderr
    one, both = log(tmp_path / "one"), log(tmp_path / "two")
    for name in ("loss", "fid_fashion_cnn"):
        assert both[name].dropna().to_numpy() == pytest.approx(one[name].dropna().to_numpy(), rel=1e-9)
    here, there = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert max((here[name] - there[name]).abs().max() for name in here) < 1e-7


@pytest.mark.slow
def test_kill_9_loses_nothing(recipe_folder: Call, tmp_path: Path) -> None:
    folder = recipe_folder(updates=200, save_every=5, evaluate_every=None)
    line: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for share in (20, 90):
        process = subprocess.Popen(program(folder, tmp_path / "killed"), **line)
        csv = tmp_path / "killed" / "training.csv"
        while process.poll() is None and (not csv.exists() or len(csv.read_text().splitlines()) < share):
            time.sleep(0.02)
        assert process.poll() is None, "it is killed on the way"
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(program(folder, tmp_path / "killed"), check=True, timeout=300, **line)
    subprocess.run(program(folder, tmp_path / "whole"), check=True, timeout=300, **line)
    assert_same(tmp_path / "whole", tmp_path / "killed")


TAUGHT = {"steps": [2], "sampling": {"sampler_steps": 3, "solver": "ab2"}}


def by_samples(write_recipe: Call, folder: Path) -> Path:
    """A recipe that is taught by samples; it names no data."""
    path: Path = write_recipe(folder)
    values = yaml.safe_load((path / RECIPE).read_text())
    values |= {"teacher_samples": TAUGHT, "data": {"name": "none"}}
    (path / RECIPE).write_text(yaml.safe_dump(values))
    return path


def test_training_by_samples_reads_no_data_and_resumes_to_the_bit(write_recipe: Call, tmp_path: Path) -> None:
    recipe = by_samples(write_recipe, tmp_path / "recipe")
    run(recipe, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="dies here"):
        run(recipe, tmp_path / "cut", report=dies_after(3))
    run(recipe, tmp_path / "cut")
    assert_same(tmp_path / "whole", tmp_path / "cut")
    assert "samples of the dense base" in (tmp_path / "whole" / "README.md").read_text()
    with pytest.raises(UserError, match=r"training\.distillation: must be 0\.0 where teacher_samples is set"):
        run(recipe, tmp_path / "other", "training.distillation=1")
    parts = tmp_path / "parts"
    run(recipe, parts, "training.gradient_accumulation=2")
    assert log(parts)["loss"].dropna().to_list() == pytest.approx(log(tmp_path / "whole")["loss"].dropna(), rel=1e-4)

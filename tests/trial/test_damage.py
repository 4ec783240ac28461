"""What goes wrong in a trial's numbers and in the files that trials share: named, or made again."""

from pathlib import Path

import pytest
from builders import Call, nothing

from flexsearch.errors import Note, NotFiniteError
from flexsearch.trial.contract import TrialResult
from flexsearch.trial.life import run_trial
from flexsearch.trial.prepare import prepare, warm_start_cache
from flexsearch.trial.result_file import read_result

WARM = {"warm_start": {"updates": 2, "batch": 4, "learning_rate": 1e-3}}


def test_a_trial_that_diverges_stops_at_the_first_loss_that_is_not_finite(start: Call) -> None:
    order = start(trial={"learning_rate": 1e30, "updates": 6})
    result = run_trial(order, nothing)
    assert result.state == "failed"
    assert result.reason == "the loss is not finite after update 2"
    assert [update for update, _ in result.curve] == [1]
    assert isinstance(read_result(order), TrialResult)
    assert not (order.trial_dir / "model").exists()


def test_weights_that_are_not_finite_fail_their_trial_as_well(start: Call) -> None:
    result = run_trial(start(trial={"learning_rate": 1e38, "updates": 1, "ema_decay": 0.0}), nothing)
    assert (result.state, "not finite" in (result.reason or "")) == ("failed", True)


def test_a_warm_start_that_diverges_is_one_line(start: Call) -> None:
    with pytest.raises(NotFiniteError, match=r"^warm_start.learning_rate: the loss is not finite after update 2$"):
        start(warm_start={"updates": 6, "batch": 4, "learning_rate": 1e30})


@pytest.mark.parametrize("left", [b"", None], ids=["empty", "cut"])
def test_damaged_shared_files_are_made_again(start: Call, settings: Call, left: bytes | None) -> None:
    order = start(**WARM)
    result = run_trial(order, nothing)
    shared = sorted(path for path in (order.run_dir / "base").glob("*.*") if path.suffix in (".safetensors", ".json"))
    kept = [*shared, *warm_start_cache().iterdir()]
    whole = {path: path.read_bytes() for path in kept}
    assert len(kept) == 7
    for path in kept:
        path.write_bytes(whole[path][: len(whole[path]) // 2] if left is None else left)
    with pytest.warns(Note, match="damaged: it is made again"):
        made = prepare(order.run_dir, settings(**WARM), seed=0, report=nothing)
    assert not any(one.found for one in made)
    weights = [path for path in shared if path.suffix == ".safetensors"]
    assert all(path.read_bytes() == whole[path] for path in weights)
    again = run_trial(order, nothing)
    assert again.measurements["fid_fashion_cnn"] == result.measurements["fid_fashion_cnn"]


def test_a_cache_that_cannot_be_written_keeps_the_warm_start(start: Call, tmp_path: Path) -> None:
    (tmp_path / "cache" / "flexsearch").mkdir(parents=True)
    (tmp_path / "cache" / "flexsearch" / "warm_starts").write_text("no folder")
    with pytest.warns(Note, match="is not kept for other runs"):
        order = start(**WARM)
    assert list((order.run_dir / "base").glob("warm_start-*.safetensors"))


def test_half_a_copy_of_a_warm_start_is_no_warm_start(start: Call, settings: Call) -> None:
    """A driver died while it copied the warm start of another run."""
    order = start(**WARM)
    (path,) = (order.run_dir / "base").glob("warm_start-*.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    (found, *_) = prepare(order.run_dir, settings(**WARM), seed=0, report=nothing)
    assert (found.what, found.found) == ("warm start", True)
    assert path.read_bytes() == whole

"""Fine-tunes are shared by schedule: a trial whose schedule was trained before takes those weights and only samples."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import Call, Killed, nothing
from safetensors.torch import load_file

from flexsearch.config import parse_config
from flexsearch.files import link_or_copy
from flexsearch.schedule import Candidate, DensitySchedule, Sampling
from flexsearch.trial.context import trial_context
from flexsearch.trial.contract import Progress, TrialOrder, TrialResult
from flexsearch.trial.life import run_trial
from flexsearch.trial.result_file import lost_seconds
from flexsearch.trial.shared_files import weights_digest

FILE = "diffusion_pytorch_model.safetensors"


def variant(order: TrialOrder, number: int = 4, **sampling: Any) -> TrialOrder:
    """Another sampling of the order's schedule."""
    chosen = Sampling(**{"steps": 2, "solver": "ab2", **sampling})
    return replace(order, number=number, candidate=replace(order.candidate, sampling=chosen))


def kept(order: TrialOrder) -> list[Path]:
    return sorted((order.run_dir / "base").glob("weights-*"))


def test_a_sampling_variant_only_samples(start: Call) -> None:
    order = start()
    first = run_trial(order, nothing)
    seen: list[Progress] = []
    second = run_trial(variant(order), lambda progress: seen.append(progress) is None)
    assert (second.state, second.curve) == ("complete", ())
    assert second.reason == "it has the weights that trial 3 trained"
    assert "fine-tune" in first.seconds
    assert set(second.seconds) == {"prepare", "latency", "sample", "score"}
    assert list(dict.fromkeys(one.phase for one in seen)) == ["prepare", "latency", "sample", "score"]
    assert set(second.measurements) == set(first.measurements)
    assert TrialResult.from_dict(json.loads(json.dumps(second.to_dict()))) == second
    one, other = (replace(order, number=number).trial_dir / "model" / FILE for number in (3, 4))
    assert one.stat().st_ino == other.stat().st_ino == (kept(order)[0] / FILE).stat().st_ino, "one file, three names"
    assert sorted(path.name for path in other.parent.iterdir()) == sorted(path.name for path in one.parent.iterdir())


def test_shared_weights_give_what_training_again_gives(start: Call) -> None:
    warm = {"warm_start": {"updates": 3, "batch": 4, "learning_rate": 1e-3}}
    order = start(**warm)
    run_trial(order, nothing)
    shared = run_trial(variant(order), nothing)
    elsewhere = variant(start("elsewhere", **warm))
    trained = run_trial(elsewhere, nothing)
    assert [update for update, _ in trained.curve] == [1, 2]
    for name in ("fid_fashion_cnn", "macs"):
        assert shared.measurements[name] == trained.measurements[name]
    mine, theirs = (load_file(one.trial_dir / "model" / FILE) for one in (variant(order), elsewhere))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_damaged_weights_are_trained_again(start: Call) -> None:
    order = start()
    first = run_trial(order, nothing)
    file = kept(order)[0] / FILE
    whole = file.read_bytes()
    file.unlink()
    file.write_bytes(whole[:-4] + b"zzzz")
    again = run_trial(replace(order, number=5), nothing)
    assert again.curve == first.curve
    assert again.measurements["fid_fashion_cnn"] == first.measurements["fid_fashion_cnn"]
    assert file.read_bytes() == whole
    assert (order.trial_dir / "model" / FILE).read_bytes() == whole


def test_a_fine_tune_that_was_stopped_is_not_shared(start: Call) -> None:
    order = start(early_stopping={"rungs": [0.5], "images": 10})
    stopped = run_trial(order, lambda progress: progress.so_far is None)
    assert stopped.state == "pruned"
    assert kept(order) == []
    whole = run_trial(variant(order), nothing)
    assert [rung.updates for rung in whole.rungs] == [1]
    assert [update for update, _ in whole.curve] == [1, 2]
    assert run_trial(order, nothing).rungs == (), "there is nothing left to stop"


def test_an_attempt_that_is_cut_short_after_its_fine_tune_loses_nothing_of_it(start: Call) -> None:
    changes = {"early_stopping": {"rungs": [0.5], "images": 10}}
    order = start(**changes)

    def dies(_: Progress) -> bool:
        if kept(order):
            raise Killed
        return True

    with pytest.raises(Killed):
        run_trial(order, dies)
    trained = json.loads((kept(order)[0] / "origin.json").read_text())["seconds"]
    before = lost_seconds(order)
    again = run_trial(order, nothing)
    whole = run_trial(start("elsewhere", **changes), nothing)
    assert (again.curve, again.rungs, again.reason) == (whole.curve, whole.rungs, None)
    assert again.seconds.keys() == whole.seconds.keys()
    assert {name: again.seconds[name] for name in ("fine-tune", "rung")} == trained
    assert again.lost_seconds == pytest.approx(max(0.0, before - sum(trained.values())))


def test_a_dense_schedule_is_the_base_and_never_trained(start: Call) -> None:
    order = start(warm_start={"updates": 2, "batch": 4, "learning_rate": 1e-2})
    candidate = Candidate(schedule=DensitySchedule.all_dense(8), sampling=Sampling(steps=2))
    searched = replace(order, candidate=candidate)
    baseline = replace(searched, number=0, baseline="dense", fine_tune=False)
    found = [run_trial(one, nothing) for one in (searched, baseline)]
    assert [one.curve for one in found] == [(), ()]
    assert [one.reason for one in found] == [None, None]
    assert found[0].measurements["fid_fashion_cnn"] == found[1].measurements["fid_fashion_cnn"]
    base = trial_context(order.run_dir).inputs.base.model.state_dict()
    weights = load_file(searched.trial_dir / "model" / FILE)
    assert weights.keys() == base.keys()
    assert all(torch.equal(value, base[name]) for name, value in weights.items())
    assert len({(one.trial_dir / "model" / FILE).stat().st_ino for one in (searched, baseline)}) == 1


def test_what_decides_training_decides_the_weights(tiny_config: Call) -> None:
    def digest(*, seed: int = 0, **changes: Any) -> str:
        config = parse_config(tiny_config(**changes))
        schedule = config.search_space.build(next(iter(config.search_space.choices()))).schedule
        return weights_digest(config.trial_settings, schedule, seed=seed, trains=True)

    plain = digest()
    assert digest(space={"sampler_steps": 7, "solver": "ab2"}, objectives={"quality": {"images": 30}}) == plain
    assert digest(early_stopping={"rungs": [0.0]}) == plain
    others = [
        digest(seed=1),
        digest(trial={"updates": 3}),
        digest(trial={"distillation": 0.0}),
        digest(warm_start={"updates": 2}),
        digest(space={"timetable": {"stages": 3}}),
    ]
    assert len({plain, *others}) == 6


def test_a_file_without_a_second_name_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "one", tmp_path / "folder" / "other"
    source.write_text("weights")
    link_or_copy(source, target)
    assert target.stat().st_ino == source.stat().st_ino
    link_or_copy(source, target)
    assert sorted(path.name for path in target.parent.iterdir()) == ["other"], "again leaves nothing behind"

    def refuse(*_: object) -> None:
        raise OSError("this file system has no second names")

    monkeypatch.setattr("os.link", refuse)
    link_or_copy(source, target)
    assert target.read_text() == "weights"
    assert target.stat().st_ino != source.stat().st_ino

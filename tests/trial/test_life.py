"""One real trial: real images, training, sampling and distance, on a tiny base."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import Call, nothing
from PIL import Image
from safetensors.torch import load_file

from flexsearch.config import parse_config
from flexsearch.data.images import to_uint8
from flexsearch.diffusion.sampling import generate
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule import Candidate, DensitySchedule, Sampling
from flexsearch.schedule.cost import route_macs
from flexsearch.trial.context import trial_context
from flexsearch.trial.contract import Progress, TrialResult
from flexsearch.trial.life import run_trial
from flexsearch.trial.prepare import prepare
from flexsearch.trial.result_file import read_result
from flexsearch.trial.teacher import live_teacher, stored_teacher


def test_a_trial_measures_everything_and_leaves_its_files(start: Call) -> None:
    order, seen = start(), []
    result = run_trial(order, lambda progress: seen.append(progress) is None)
    assert result.state == "complete"
    assert set(result.measurements) == {"macs", "latency_ms", "fid_fashion_cnn"}
    assert result.measurements["latency_ms"].value > 0
    assert result.measurements["latency_ms"].protocol["compile"] is False
    assert result.measurements["fid_fashion_cnn"].value > 1
    assert result.constraints["latency_limit_ms"] < 0
    assert [update for update, _ in result.curve] == [1, 2]
    assert set(result.seconds) == {"prepare", "latency", "fine-tune", "sample", "score"}
    phases = list(dict.fromkeys(progress.phase for progress in seen if isinstance(progress, Progress)))
    assert phases == ["prepare", "latency", "fine-tune", "sample", "score"]
    assert read_result(order) == result
    shape = trial_context(order.run_dir).settings.shape
    assert order.candidate.sampling.steps == 1  # one step, at pure noise
    (*_, at_noise) = order.candidate.schedule.routes(shape.grid)
    assert result.measurements["macs"].value == route_macs(at_noise, shape)
    (weights,) = (order.run_dir / "base").glob("weights-*")
    shutil.rmtree(weights)
    again = run_trial(replace(order, number=4), nothing)
    assert again.measurements["fid_fashion_cnn"] == result.measurements["fid_fashion_cnn"], "to the bit"
    assert again.curve == result.curve
    assert {"model", "samples.png", "result.json"} <= {path.name for path in order.trial_dir.iterdir()}


def test_the_dense_base_is_trained_where_a_baseline_says_so(start: Call) -> None:
    order = start()
    dense = Candidate(schedule=DensitySchedule.all_dense(8), sampling=Sampling(steps=1))
    plain = run_trial(replace(order, candidate=dense, number=0, baseline="dense", fine_tune=False), nothing)
    tuned = run_trial(replace(order, candidate=dense, number=1, baseline="fine-tuned dense"), nothing)
    searched = run_trial(replace(order, candidate=dense, number=2), nothing)
    assert [len(one.curve) for one in (plain, tuned, searched)] == [0, 2, 0]
    values = [one.measurements["fid_fashion_cnn"].value for one in (plain, tuned, searched)]
    assert values[0] == values[2] != values[1]


def test_the_kept_model_draws_the_images_that_were_scored(start: Call) -> None:
    order = start()
    run_trial(order, nothing)
    model = FlexDiT.from_pretrained(order.trial_dir / "model").eval()
    assert model.schedule == order.candidate.schedule
    assert set(model.merges) == {str(block) for block, role in enumerate(model.schedule.roles) if role == "recover"}
    context = trial_context(order.run_dir)
    (images,) = generate(
        model,
        context.inputs.base.scheduler,
        context.space.plan(order.candidate),
        conditions=context.inputs.data.conditions,
        num_images=10,
        batch=10,
        seed=0,
        settings=context.settings.sampling,
    )
    picture = torch.from_numpy(np.array(Image.open(order.trial_dir / "samples.png").convert("L")))
    first_row = torch.stack([picture[None, 1:17, 1 + 17 * column : 17 + 17 * column] for column in range(10)])
    assert torch.equal(first_row, to_uint8(images))


def test_a_schedule_over_the_limit_is_not_trained(start: Call) -> None:
    order = start(objectives={"latency": {"max_ms": 1e-6}})
    result = run_trial(order, nothing)
    assert result.state == "infeasible"
    assert "above the limit" in (result.reason or "")
    assert result.constraints["latency_limit_ms"] > 0
    assert "fid_fashion_cnn" not in result.measurements
    assert result.curve == ()
    assert not (order.trial_dir / "model").exists()
    baseline = run_trial(replace(order, number=4, baseline="FlexDiT paper"), nothing)
    assert baseline.state == "complete"
    assert set(baseline.constraints.values()) == {0.0}


def test_the_dense_baseline_is_the_base_as_it_is(start: Call) -> None:
    order = start()
    dense = Candidate(schedule=DensitySchedule.all_dense(8), sampling=Sampling(steps=2))
    order = replace(order, candidate=dense, baseline="dense", fine_tune=False)
    assert run_trial(order, nothing).curve == ()
    kept = load_file(order.trial_dir / "model" / "diffusion_pytorch_model.safetensors")
    base = trial_context(order.run_dir).inputs.base.model.state_dict()
    assert kept.keys() == base.keys()
    assert all(torch.equal(kept[key], value) for key, value in base.items())


def test_a_repetition_measures_quality_alone(start: Call) -> None:
    order = start()
    own = run_trial(order, nothing)
    again = run_trial(replace(order, seed=5, kind="repeat"), nothing)
    assert set(again.measurements) == {"macs", "fid_fashion_cnn"}
    assert again.measurements["fid_fashion_cnn"].value != own.measurements["fid_fashion_cnn"].value
    assert read_result(order) == own
    assert (order.trial_dir / "seed-5" / "result.json").exists()


def test_shared_files_are_made_once_and_their_cost_is_kept(
    start: Call, settings: Call, tiny_config: Call, tmp_path: Path
) -> None:
    warm = {"warm_start": {"updates": 3, "batch": 4, "learning_rate": 1e-3}}
    order = start(**warm)
    again = prepare(order.run_dir, settings(**warm), seed=0, report=nothing)
    assert [(one.what, one.found) for one in again] == [
        ("warm start", True),
        ("teacher", True),
    ]
    elsewhere = tmp_path / "elsewhere"
    parse_config(tiny_config(**warm)).save(elsewhere)
    found = prepare(elsewhere, settings(**warm), seed=0, report=nothing)
    assert [(one.what, one.found) for one in found] == [
        ("warm start", True),
        ("teacher", False),
    ]
    assert found[0].seconds == again[0].seconds > 0
    other = settings(warm_start={"updates": 4, "batch": 4})
    assert [one.found for one in prepare(order.run_dir, other, seed=0, report=nothing)] == [False, True]


def test_trials_start_from_the_warm_start(start: Call) -> None:
    order = start(warm_start={"updates": 3, "batch": 4, "learning_rate": 1e-2, "ema_decay": 0.0}, trial={"updates": 0})
    run_trial(order, nothing)
    context = trial_context(order.run_dir)
    kept = load_file(order.trial_dir / "model" / "diffusion_pytorch_model.safetensors")
    warm, base = context.start.state_dict(), context.inputs.base.model.state_dict()
    assert all(torch.equal(value, warm[key]) for key, value in kept.items())
    assert any(not torch.equal(value, base[key]) for key, value in kept.items() if key in base)


def test_an_interrupted_warm_start_goes_on(start: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from flexsearch.trial import warm_start

    settings = {"warm_start": {"updates": 6, "batch": 4, "learning_rate": 1e-3}}
    whole = load_file(trial_context(start(**settings).run_dir).shared.warm_start)
    folder = trial_context(start(**settings).run_dir)
    path = folder.shared.warm_start.with_name("again.safetensors")
    monkeypatch.setattr(warm_start, "_SAVE_EVERY", 2)

    def training() -> Any:
        return warm_start.elastic_training(
            folder.inputs.base, space=folder.space, data=folder.inputs.data, settings=folder.settings.warm_start, seed=0
        )

    def dies(step: Any) -> None:
        if step.update == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        warm_start.make_warm_start(path, training(), report=dies)
    assert not path.exists()
    updates: list[int] = []
    warm_start.make_warm_start(path, training(), report=lambda step: updates.append(step.update))
    assert updates == [5, 6]
    again = load_file(path)
    assert all(torch.equal(value, again[key]) for key, value in whole.items())


def test_stored_lessons_are_the_teachers_outputs(start: Call) -> None:
    context = trial_context(start().run_dir)
    stored = stored_teacher(context.shared.teacher_outputs(context.settings, seed=0))
    live, process = live_teacher(context.inputs.base.model), context.inputs.process
    for update in range(2):
        batch = context.stream(0).at(update)
        noisy, time = process.noisy(batch.clean, batch.noise, batch.time), process.model_time(batch.time)
        assert torch.equal(stored(update, batch, noisy, time), live(update, batch, noisy, time))


def test_a_trial_is_judged_at_its_rungs_and_ends_where_it_is_told_to(start: Call) -> None:
    stopping = {"early_stopping": {"rungs": [0.0, 0.5], "images": 10}, "trial": {"updates": 4}}
    order = start(**stopping)
    whole = run_trial(order, nothing)
    assert whole.state == "complete"
    assert [rung.updates for rung in whole.rungs] == [0, 2]
    assert all(rung.quality > 1 for rung in whole.rungs)
    assert len({rung.quality for rung in whole.rungs}) == 2
    seen: list[TrialResult] = []

    def stop_at_the_second(progress: Progress) -> bool:
        if progress.so_far is not None:
            seen.append(progress.so_far)
        return len(seen) < 2

    (kept,) = (order.run_dir / "base").glob("weights-*")
    shutil.rmtree(kept)
    stopped = run_trial(order, stop_at_the_second)
    assert (stopped.state, stopped.rungs) == ("pruned", whole.rungs), "the same batches, noise and images"
    assert [update for update, _ in stopped.curve] == [1, 2]
    assert "fid_fashion_cnn" not in stopped.measurements
    assert "latency_ms" in stopped.measurements
    assert stopped.reason == "others were better after 2 fine-tuning updates"
    assert seen[0].rungs == stopped.rungs[:1]
    assert seen[1].rungs == stopped.rungs
    assert TrialResult.from_dict(json.loads(json.dumps(stopped.to_dict()))) == stopped
    restored = Progress.from_dict(json.loads(json.dumps(Progress(phase="rung", so_far=stopped).to_dict())))
    assert restored.so_far == stopped

"""Schedules that a gradient on the warm start finds: candidates of the space, made once, and tried first."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import Call, Killed, nothing

from flexsearch.config import parse_config
from flexsearch.errors import Note, UserError
from flexsearch.schedule import DensitySchedule
from flexsearch.study.run import Console, run_search
from flexsearch.study.store import TrialRecord
from flexsearch.trial import gradient_seeds, learned_amounts
from flexsearch.trial.context import trial_context
from flexsearch.trial.gradient_seeds import Times, WarmLoss, load_seeds, make_seeds
from flexsearch.trial.prepare import prepare
from flexsearch.trial.shared_files import SharedFiles

WARM = {"warm_start": {"updates": 2, "batch": 4, "learning_rate": 1e-3}}
SEEDED = {**WARM, "search": {"seed_from": "gradient"}}


@pytest.fixture(autouse=True)
def few_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned_amounts, "UPDATES", 12)
    monkeypatch.setattr(learned_amounts, "_LEARNING_RATE", 0.3)
    monkeypatch.setattr(gradient_seeds, "BATCHES", 2)


@pytest.mark.filterwarnings("ignore:no latency profile")
def test_they_are_made_once_and_are_schedules_of_the_space(start: Call, settings: Call) -> None:
    order, own = start(**WARM), settings(**WARM)
    first, again = (prepare(order.run_dir, own, seed=0, report=nothing, learns_seeds=True)[-1] for _ in range(2))
    assert (first.what, first.found, again.found) == ("gradient seeds", False, True)
    assert again.seconds == first.seconds > 0
    path = SharedFiles.of(order.run_dir, own).gradient_seeds(own, seed=0)
    seeds, space, times = load_seeds(path), own.search_space, Times(trial_context(order.run_dir))
    assert len(seeds) > 1
    schedules = [space.build({**seed, "sampler_steps": 1}).schedule for seed in seeds]
    assert all(seed[name] in domain.values for seed in seeds for name, domain in space.schedule_domains.items())
    assert len({one.digest for one in schedules}) == len(seeds)
    assert [times.of(one) for one in schedules] == sorted(map(times.of, schedules), reverse=True)
    made = path.read_bytes()
    path.write_bytes(made[:50])
    with pytest.warns(Note, match="damaged: it is made again"):
        prepare(order.run_dir, own, seed=0, report=nothing, learns_seeds=True)
    assert path.read_bytes() == made


def test_a_block_whose_width_does_nothing_is_emptied_and_others_are_kept(start: Call, tmp_path: Path) -> None:
    width = {"clean_hidden": {"choice": [2, 8]}}
    segments = [{"family": "dense", "depth": depth, "width": width} for depth in (1, "rest")]
    order = start(space={"segments": segments, "timetable": {"stages": 1, "clean_grid": 3}}, **WARM)
    context = trial_context(order.run_dir)
    base = replace(context.inputs.base, model=context.inputs.base.model.clone())
    with torch.no_grad():
        base.model.base.transformer_blocks[0].ff.net[2].weight.zero_()
    context = replace(context, start=base.model.clone(), inputs=replace(context.inputs, base=base))
    with pytest.warns(Note, match="no latency profile of this device: gradient seeds go by MACs"):
        make_seeds(tmp_path / "seeds.json", context, seed=0, report=nothing)
    seeds = load_seeds(tmp_path / "seeds.json")
    assert [(one["dense.width.clean_hidden"], one["dense_2.width.clean_hidden"]) for one in seeds] == [(2, 8), (2, 2)]


@pytest.mark.filterwarnings("ignore:no latency profile")
def test_losses_are_of_the_warm_start_which_stays_as_it_is(start: Call) -> None:
    context = trial_context(start(**WARM).run_dir)
    before = {name: value.clone() for name, value in context.start.state_dict().items()}
    schedule, losses = context.start.schedule, WarmLoss(context, seed=0)
    sparse = context.space.build(next(context.space.choices())).schedule
    assert losses.of(DensitySchedule.all_dense(context.space.num_blocks)) < losses.of(sparse)
    assert losses.of(sparse) == losses.of(sparse) == WarmLoss(context, seed=0).of(sparse)
    assert context.start.schedule == schedule
    assert all(torch.equal(value, before[name]) for name, value in context.start.state_dict().items())


def test_time_is_what_the_profile_composes(start: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    class Profile:
        """Every block takes a millisecond, but dense ones two."""

        def covers(self, plan: Any) -> bool:
            return True

        def predict(self, plan: Any) -> float:
            (graph,) = {step.graph for step in plan.steps[:1]}
            return float(sum(1 + (one.role == "dense") for one in graph.route))

    monkeypatch.setattr(gradient_seeds, "load_profile", lambda _: Profile())
    context = trial_context(start(**WARM).run_dir)
    space, times = context.space, Times(context)
    schedule = space.build(next(space.choices())).schedule
    num_dense = sum(role == "dense" for role in schedule.roles)
    assert times.of(schedule) == (space.num_blocks + num_dense) / (2 * space.num_blocks)


@pytest.mark.filterwarnings("ignore:no latency profile")
def test_a_search_tries_them_first_and_resumes_after_kills(
    own_cache: None, tiny_config: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = parse_config(tiny_config(**SEEDED, space={"sampler_steps": {"choice": [1, 2]}}))

    def ledger(folder: str) -> list[tuple[Any, ...]]:
        store = run_search(config.plan(tmp_path / folder, executor="local"), Console())
        assert "gradient seeds" in {cost.what for cost in store.costs()}
        return [_told(record) for record in store.trials()]

    whole = ledger("whole")
    own = config.trial_settings
    seeds = load_seeds(SharedFiles.of(tmp_path / "whole", own).gradient_seeds(own, seed=0))
    space = config.search_space
    wanted = [space.build({**seed, "sampler_steps": 1}).schedule.digest for seed in seeds]
    searched = [schedule for _, _, schedule, baseline, _ in whole if baseline is None]
    assert searched[: len(wanted)] == wanted[: len(searched)]
    assert searched

    made, learn = iter((Killed, None)), learned_amounts.learn

    def dies_once(*arguments: Any, **options: Any) -> Any:
        if next(made, None) is not None:
            raise Killed
        return learn(*arguments, **options)

    monkeypatch.setattr(learned_amounts, "learn", dies_once)
    with pytest.raises(Killed):
        ledger("killed")
    assert ledger("killed") == whole


def _told(record: TrialRecord) -> tuple[Any, ...]:
    return (
        record.number,
        record.candidate.digest,
        record.candidate.schedule.digest,
        record.baseline,
        record.state,
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "there is no warm start"),
        ({**WARM, "space": {"segments": [{"family": "dense", "depth": 8}]}}, "there is no warm start"),
        (
            {**WARM, "space": {"segments": [{"family": "pooling", "depth": 2}, {"family": "dense", "depth": "rest"}]}},
            "no field of space.segments or space.timetable is searched",
        ),
    ],
    ids=["no warm start", "training-free", "nothing to learn"],
)
def test_what_has_nothing_to_learn_refuses_them(tiny_config: Call, changes: dict[str, Any], reason: str) -> None:
    values = tiny_config(**{**changes, "search": {"seed_from": "gradient"}})
    if "space" in changes:
        del values["space"]["timetable"]
    with pytest.raises(UserError, match=r"^search\.seed_from: must be none where " + reason):
        parse_config(values)

"""The latency of a trial: predicted or timed, kept in a file of the run, and a limit that is checked before a run."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from builders import Call, nothing

from flexsearch.config import parse_config
from flexsearch.errors import Note, UserError
from flexsearch.latency.image_timer import ImageTimer
from flexsearch.latency.profile import LatencyProfile, OperationTime
from flexsearch.measurement import Measurement, short_digest
from flexsearch.trial import timing
from flexsearch.trial.context import trial_context
from flexsearch.trial.contract import TrialOrder
from flexsearch.trial.inputs import load_inputs
from flexsearch.trial.life import run_trial
from flexsearch.trial.prepare import prepare
from flexsearch.trial.profiles import save_profile
from flexsearch.trial.settings import TrialSettings
from flexsearch.trial.timing import check_budget, check_device, latency_of

pytestmark = pytest.mark.usefixtures("own_cache")


def slow_profile(settings: TrialSettings) -> LatencyProfile:
    """A profile of a device on which an operation takes two minutes."""
    space = settings.search_space
    plans = map(space.plan, space.candidates(up_to=100))
    keys = {one.key for plan in plans for graph in plan.graphs for one in graph.route}
    return LatencyProfile(
        num_blocks=space.num_blocks,
        grid=space.grid,
        operations=tuple(
            OperationTime(role=role, queries=queries, keys=keys, amounts=amounts, ms=120_000.0)
            for role, queries, keys, amounts in keys
        ),
        step_ms=0.0,
        image_ms=0.0,
        reference_ms=1.0,
        noise=0.0,
        error=0.02,
        kendall_tau=None,
        held_out=(),
        protocol={"device": "slow"},
    )


def test_a_trial_that_is_predicted_infeasible_is_not_timed_and_a_baseline_is(
    settings: Call, tiny_config: Call, tmp_path: Path
) -> None:
    limited = {"objectives": {"latency": {"max_ms": 1e5}}, "trial": {"updates": 0}}
    tiny = settings(**limited)
    candidate = tiny.search_space.candidates(up_to=100)[0]
    save_profile(slow_profile(tiny), tiny)
    run_dir = tmp_path / "run"
    parse_config(tiny_config(**limited)).save(run_dir)
    prepare(run_dir, tiny, seed=0, report=nothing)
    order = TrialOrder(number=0, candidate=candidate, run_dir=run_dir, seed=0)
    result = run_trial(order, nothing)
    assert result.state == "infeasible"
    assert "predicted" in str(result.reason)
    assert set(result.measurements) == {"macs", "predicted_latency_ms"}
    expected = 8 * 120_000.0 * candidate.sampling.steps
    assert result.constraints == pytest.approx({"latency_limit_ms": expected - 1e5, "slower_than_dense": 0.0})
    assert result.curve == ()
    assert json.loads((order.trial_dir / "result.json").read_text())["state"] == "infeasible"

    context = trial_context(run_dir)
    assert not list(context.shared.folder.glob("reference_latency-*.json"))
    baseline = latency_of(context.start, replace(order, number=1, baseline="FlexDiT paper"), context)
    assert baseline.state == "complete"
    assert baseline.constraints == {"latency_limit_ms": 0.0, "slower_than_dense": 0.0}
    latency = baseline.measurements["latency_ms"]
    assert latency.value > 0
    (path,) = context.shared.folder.glob("reference_latency-*.json")
    kept = json.loads(path.read_text())
    assert kept.pop("reference_ms") > 0
    assert kept == {
        "device": latency.protocol["device"],
        "batch": 8,
        "sampler": "FlowMatchEulerDiscreteScheduler",
        "guidance": 1.0,
        "dtype": "fp32",
    }
    assert path.name == f"reference_latency-{short_digest(kept)}.json"  # where earlier versions kept it


def test_a_trial_that_needs_too_much_memory_is_infeasible(start: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a baseline is not, which shows what the memory would buy."""
    needed = Measurement(name="memory_gb", value=30.0, unit="GB")
    monkeypatch.setattr(ImageTimer, "measure_memory", lambda *_, **__: needed)
    order = start(objectives={"memory": {"max_gb": 24.0}})
    context = trial_context(order.run_dir)
    with pytest.raises(UserError, match=r"^objectives\.memory\.max_gb: is measured on a GPU alone"):
        check_device(context.settings)
    monkeypatch.setattr(timing, "check_device", nothing)
    found = latency_of(context.start, order, context)
    assert (found.state, found.reason) == ("infeasible", "it needs 6 GB more than objectives.memory.max_gb")
    assert found.measurements["memory_gb"] == needed
    assert found.constraints["memory_limit_gb"] == 6.0
    baseline = latency_of(context.start, replace(order, number=1, baseline="FlexDiT paper"), context)
    assert (baseline.state, baseline.constraints["memory_limit_gb"]) == ("complete", 0.0)


def test_a_limit_out_of_reach_names_one_in_reach(settings: Call) -> None:
    with pytest.raises(UserError, match="no schedule of the space is that fast") as caught:
        check_budget(settings(objectives={"latency": {"max_ms": 1e-6}}))
    assert caught.value.field == "objectives.latency.max_ms"
    check_budget(settings(objectives={"latency": {"max_ms": 50 * float(str(caught.value.nearest))}}))
    check_budget(settings())
    base = load_inputs(settings(objectives={"latency": {"max_ms": 1e-6}})).base.model
    assert not [name for name in base.state_dict() if name.startswith("merges")]  # the base is never changed


def test_a_budget_is_checked_before_the_data_are_known(settings: Call) -> None:
    own = settings(objectives={"latency": {"max_ms": 1e6}}, space={"start": "gaussian", "sampler_steps": 2})
    assert load_inputs(own).base.model.data_gaussian is None
    check_budget(own)


def test_a_run_is_timed_on_one_kind_of_hardware(start: Call) -> None:
    order = start()
    run_trial(order, nothing)
    note = order.run_dir / "hardware.json"
    here = json.loads(note.read_text())
    run_trial(replace(order, number=4), nothing)
    note.write_text(json.dumps({**here, "device": "another"}))
    with pytest.raises(UserError, match=r"are timed on device 'another', not '.*objectives\.latency\.mixed=true$"):
        run_trial(replace(order, number=5), nothing)
    mixed = start("mixed", objectives={"latency": {"mixed": True}})
    (mixed.run_dir / "hardware.json").write_text(json.dumps({**here, "device": "another"}))
    assert run_trial(mixed, nothing).state == "complete"
    note.write_text("{")
    with pytest.warns(Note, match=r"hardware\.json is damaged: it is made again, of this hardware"):
        run_trial(replace(order, number=6), nothing)
    assert json.loads(note.read_text()) == here

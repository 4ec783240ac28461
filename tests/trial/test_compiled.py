"""Latencies of compiled graphs: what is compiled, what is measured beside them, and what is said where it cannot be."""

from pathlib import Path

import pytest
import torch
from builders import Call, nothing
from torch._inductor import config as inductor

from flexsearch.errors import UserError
from flexsearch.latency import compiler
from flexsearch.latency.compiler import check_compiler
from flexsearch.latency.profile import LatencyProfile
from flexsearch.latency.settings import EAGER
from flexsearch.models.flexdit import FlexDiT
from flexsearch.trial.context import trial_context
from flexsearch.trial.life import run_trial
from flexsearch.trial.profiles import load_profile, save_profile
from flexsearch.trial.timing import time_together, timer_of


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Nothing is compiled: that graphs can be is tested of every backbone. Gives what would have been."""
    seen: list[object] = []

    def compile_(function: object, **options: object) -> object:
        assert options["fullgraph"] is True
        seen.append(function)
        return function

    monkeypatch.setattr(torch, "compile", compile_)
    check_compiler.cache_clear()
    return seen


def test_a_trial_is_timed_compiled_and_eager(start: Call, compiled: list[object]) -> None:
    order = start(objectives={"latency": {"compile": True}})
    found = run_trial(order, nothing).measurements
    context = trial_context(order.run_dir)
    graphs = context.space.plan(order.candidate).graphs
    assert len(compiled) == 1 + len(graphs) + 1, "the check's, the candidate's, and the dense base's"
    assert found["latency_ms"].protocol["compile"] is True
    assert found[EAGER].protocol == {**found["latency_ms"].protocol, "compile": False}
    assert found[EAGER].value > 0
    ((latency, eager),) = time_together([order.candidate], order.run_dir)
    assert (latency.name, eager.name) == ("latency_ms", EAGER)
    assert context.inputs.base.model._compiled.options is None, "samples are drawn as ever"


@pytest.mark.usefixtures("own_cache")
def test_a_profile_is_of_compiled_graphs_or_not(settings: Call) -> None:
    eager, own = settings(), settings(objectives={"latency": {"compile": True}})
    sound = {"step_ms": 1.0, "image_ms": 1.0, "reference_ms": 1.0, "noise": 0.0, "error": 0.0, "kendall_tau": None}
    made = LatencyProfile(
        num_blocks=8, grid=own.search_space.grid, operations=(), held_out=(), protocol={"compile": True}, **sound
    )
    save_profile(made, own)
    assert load_profile(own) == made
    assert load_profile(eager) is None


def test_a_copy_of_a_model_compiles_its_own_graphs(tiny_model: FlexDiT, compiled: list[object]) -> None:
    """What is compiled holds the weights of its model."""
    inputs = torch.randn(1, *tiny_model.shape.sample_size), torch.tensor([100.0])
    arguments = {"class_labels": torch.tensor([1]), "graph": tiny_model.graphs()[0]}
    with torch.no_grad(), tiny_model.compiled_stages():
        expected = tiny_model(*inputs, **arguments).sample
        copy = tiny_model.clone()
        for weight in copy.parameters():
            weight.mul_(0.5)
        halved = copy(*inputs, **arguments).sample
        again = tiny_model(*inputs, **arguments).sample
    with torch.no_grad():
        wanted = copy(*inputs, **arguments).sample
    assert torch.equal(expected, again)
    assert not torch.allclose(expected, halved)
    assert torch.allclose(halved, wanted, atol=1e-6)


def test_a_machine_that_cannot_compile_says_so_in_one_line(
    settings: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(inductor.cpp, "cxx", (str(tmp_path / "no-compiler"),))
    monkeypatch.setattr(compiler, "_small", lambda values: values.cos() * 3)  # nothing of it is kept
    monkeypatch.setattr(inductor, "force_disable_caches", True)
    check_compiler.cache_clear()
    own = settings(objectives={"latency": {"compile": True}})
    said = r"^objectives\.latency\.compile: torch\.compile does not work on cpu here"
    with pytest.raises(UserError, match=said) as caught:
        timer_of(own, None)  # type: ignore[arg-type]  # nothing is loaded before
    assert "\n" not in str(caught.value)
    torch._dynamo.reset()

"""Which executor `auto` takes."""

import pytest

from flexsearch.errors import UserError
from flexsearch.study import executor
from flexsearch.study.executor import choose_executor
from flexsearch.study.settings import Resources


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> object:
    def has(*, cpus: int, gpus: int = 0, ray: bool = True) -> None:
        monkeypatch.setattr(executor.os, "cpu_count", lambda: cpus)
        monkeypatch.setattr(executor, "num_gpus", lambda: gpus)
        monkeypatch.setattr("importlib.util.find_spec", lambda _: object() if ray else None)

    return has


@pytest.mark.parametrize(
    ("cpus", "gpus", "ray", "resources", "name", "slots"),
    [
        (2, 0, True, Resources(cpu=1), "local", 1),
        (8, 0, True, Resources(cpu=1), "ray", 8),
        (8, 0, True, Resources(cpu=8), "local", 1),
        (8, 0, False, Resources(cpu=1), "local", 1),
        (16, 1, True, Resources(gpu=1, cpu=4), "local", 1),
        (16, 4, True, Resources(gpu=1, cpu=4), "ray", 4),
        (4, 4, True, Resources(gpu=1, cpu=2), "ray", 2),
        (16, 1, True, Resources(gpu=0.5, cpu=4), "ray", 2),
    ],
)
def test_auto(machine: object, cpus: int, gpus: int, ray: bool, resources: Resources, name: str, slots: int) -> None:
    machine(cpus=cpus, gpus=gpus, ray=ray)
    choice = choose_executor("auto", resources)
    assert (choice.name, choice.slots) == (name, slots)
    assert choice.reason


def test_what_is_asked_for_is_taken_or_refused(machine: object) -> None:
    machine(cpus=2)
    assert choose_executor("ray", Resources(cpu=1)).name == "ray"
    assert choose_executor("auto", Resources(cpu=1), address="1.2.3.4:6379").name == "ray"
    assert choose_executor("local", Resources(cpu=1)).name == "local"
    machine(cpus=2, ray=False)
    with pytest.raises(UserError, match=r'ray is not installed; pip install "flexsearch\[ray\]"'):
        choose_executor("ray", Resources(cpu=1))

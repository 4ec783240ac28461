"""Functions of the user's own: a metric as the objective, and training data."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import Call

from flexsearch.config import parse_config
from flexsearch.data.conditions import ClassConditions
from flexsearch.data.loading import load_data
from flexsearch.data.settings import DataSettings
from flexsearch.errors import NotFiniteError, UserError
from flexsearch.objectives.own_metric import OwnMetric
from flexsearch.objectives.settings import ObjectiveSettings, QualitySettings
from flexsearch.user_function import UserFunction

METRICS = """
import math

def brightness(images, labels, prompts):
    assert len(labels) == len(images) and prompts is None or len(prompts) == len(images)
    return images.float().mean() + labels[0]

def only_images(images):
    return 2.0

def words(*, prompts, images=None):
    return 1.0

def of_nothing(images):
    return math.nan

def text(images):
    return "good"

def wrong(images):
    return {}["red"]
"""
DATA = """
import numpy as np
from flexsearch.data.embedded import load_quickstart

def pictures():
    return np.zeros((3, 1, 16, 16), dtype=np.uint8), [0, 1, 1]

def floats():
    return np.full((3, 1, 16, 16), 0.5), np.array([0, 1, 1]), 10

def source():
    return load_quickstart()

def nothing():
    return None

def shapes():
    return np.zeros((3, 16, 16)), [0, 1, 1]

def waves():
    return np.zeros((3, 1, 16, 16), dtype=complex), [0, 1, 1]

def whole():
    return np.zeros((3, 1, 16, 16), dtype=int), [0, 1, 1]

def halves():
    return np.zeros((3, 1, 16, 16)), [0, 0.5, 1]

def classes():
    return np.zeros((3, 1, 16, 16)), [0, 1, 2], 2
"""


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "my_metrics.py").write_text(METRICS)
    (tmp_path / "my_data.py").write_text(DATA)
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("my_metrics", None)


def metric(name: str, *, is_maximised: bool = False) -> OwnMetric:
    function = UserFunction(where=f"my_metrics.py:{name}", field="objectives.quality.callable")
    return OwnMetric(function=function, is_maximised=is_maximised, conditions=ClassConditions(num_classes=10))


def test_a_metric_is_given_images_and_what_they_were_drawn_of() -> None:
    images = torch.full((4, 1, 2, 2), 3, dtype=torch.uint8)
    (found,) = metric("brightness").measure(images, first=12)
    assert (found.name, found.value) == ("brightness", 5.0)
    assert found.protocol["images"] == 4
    assert found.protocol["function"] == "my_metrics.py:brightness"
    assert [one.value for one in metric("only_images").measure(images)] == [2.0]


def test_of_a_score_the_inverse_is_minimised() -> None:
    settings = QualitySettings(callable="my_metrics.py:only_images", direction="maximize", report=("kid",))
    assert ObjectiveSettings(quality=settings).names == ("inverse_only_images", "latency_ms")
    assert settings.names == ("inverse_only_images", "only_images", "kid")
    assert settings.metrics == {"inception": ("kernel",)}
    found = metric("only_images", is_maximised=True).measure(torch.zeros(1, 1, 2, 2))
    assert [(one.name, one.value) for one in found] == [("inverse_only_images", 0.5), ("only_images", 2.0)]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("of_nothing", NotFiniteError, "must give a finite number above 0, but gave nan"),
        ("text", UserError, "must give a number, but gave str"),
        ("wrong", UserError, r"callable: my_metrics\.py:wrong failed: KeyError: .*\(my_metrics\.py:\d+\)"),
        ("missing", UserError, "there is no function missing in .*nearest legal: brightness"),
    ],
)
def test_what_a_metric_does_wrong_is_told(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        metric(name).measure(torch.zeros(1, 1, 2, 2))


def test_a_function_is_found_by_module_or_file_and_known_by_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    by_file = UserFunction(where="my_metrics.py:only_images", field="x")
    with pytest.raises(UserError, match=r"x: there is no module my_metrics .*legal: my_metrics\.py:only_images"):
        _ = UserFunction(where="my_metrics:only_images", field="x").identity
    monkeypatch.syspath_prepend(".")
    by_module = UserFunction(where="my_metrics:only_images", field="x")
    assert by_module(None) == by_file(None) == 2.0
    before = by_file.identity["source"]
    assert by_module.identity == {"function": "my_metrics:only_images", "source": before}
    Path("my_metrics.py").write_text(METRICS + "\n# changed")
    assert by_file.identity["source"] != before
    for wrong in ("my_metrics", "a:b c", ":f"):
        with pytest.raises(UserError, match=r"must name a function.*package\.module:function"):
            UserFunction(where=wrong, field="x")


def test_settings_of_functions(tiny_config: Call) -> None:
    with pytest.raises(UserError, match=r"objectives\.quality\.direction: goes with objectives\.quality\.callable"):
        parse_config(tiny_config(objectives={"quality": {"direction": "maximize"}}))
    with pytest.raises(UserError, match=r"data\.callable: takes the place of data\.name, but got both"):
        parse_config(tiny_config(data={"callable": "my_data.py:source"}))
    plain = DataSettings(name="images").identity
    assert plain == {"name": "images", "root": "data", "split": "train", "size": 32}


def test_data_of_a_function() -> None:
    pictures = load_data(DataSettings(callable="my_data.py:pictures"))
    assert pictures.clean(torch.tensor([2])).unique().item() == -1.0
    assert pictures.conditions.num_classes == 2
    floats = load_data(DataSettings(callable="my_data.py:floats"))
    assert floats.clean(torch.tensor([0])).unique().item() == 0.5
    assert floats.conditions.num_classes == 10
    assert len({pictures.digest, floats.digest}) == 2
    assert np.array_equal(floats.condition(torch.tensor([0, 2]))["class_labels"], [0, 1])
    assert len(load_data(DataSettings(callable="my_data.py:source"))) == 10_000
    for name, message in (
        ("nothing", "but gave NoneType"),
        ("shapes", r"but gave data \(3, 16, 16\)"),
        ("waves", r"but gave data of torch\.complex128"),
        ("whole", r"but gave data of torch\.int64"),
        ("halves", r"and labels of torch\.float32"),
        ("classes", "but gave labels 0 to 2 of 2 classes"),
    ):
        with pytest.raises(UserError, match=rf"data\.callable: my_data\.py:{name} must give .*{message}"):
            load_data(DataSettings(callable=f"my_data.py:{name}"))

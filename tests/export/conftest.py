"""A recipe for a tiny base, whose training takes a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from flexsearch.export.recipe import BASE, RECIPE
from flexsearch.schedule.density import DensitySchedule


@pytest.fixture
def recipe_folder(
    tiny_config: Callable[..., dict[str, Any]], sparse_schedule: DensitySchedule, tmp_path: Path
) -> Callable[..., Path]:
    """Writes a recipe into a folder of its own; keywords replace parts of its training."""

    def write(**training: Any) -> Path:
        config = tiny_config()
        candidate = {**sparse_schedule.to_dict(), "sampler_steps": 2}
        candidate["segments"] = [*candidate["segments"], {"family": "dense", "depth": 2}]  # 8 blocks
        values = {
            **{part: config[part] for part in ("base", "data", "objectives")},
            "candidate": candidate,
            "start": BASE,
            "training": {
                "updates": 6,
                "batch": 8,
                "learning_rate": 1e-3,
                "decay": "linear",
                "ema_decay": 0.5,
                "save_every": 2,
                "evaluate_every": 3,
                **training,
            },
        }
        folder = tmp_path / "recipe"
        folder.mkdir(exist_ok=True)
        (folder / RECIPE).write_text(yaml.safe_dump(values))
        return folder

    return write

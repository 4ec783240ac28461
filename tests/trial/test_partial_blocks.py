"""A search over blocks that are computed in part and modules on grids of their own, end to end: warm start, trials,
report, export."""

import re
from pathlib import Path

import pytest
from builders import Call
from safetensors.torch import load_file

import flexsearch
from flexsearch.cli.results import front_of_run, open_run
from flexsearch.models.flexdit import FlexDiT
from flexsearch.report.trial_page import draw_schedule


@pytest.mark.usefixtures("own_cache")
def test_widths_bypasses_and_grids_of_modules_are_searched(tiny_config: Call, tmp_path: Path) -> None:
    segments = [
        {"family": "keep", "depth": 2, "scope": "block", "tokens": {"clean": 4, "noise": {"choice": [4, 8]}}},
        {"family": "sdtm", "sparse": 0, "dense": 0, "grid": {"clean": {"choice": [5, "5x3"]}}},
        {"family": "sdtm", "sparse": 0, "dense": 0, "grid": {"clean": 3, "noise": {"choice": [None, 2]}}},
        {"family": "dense", "depth": "rest", "width": {"clean_heads": 4, "noise_hidden": {"choice": [2, 6]}}},
    ]
    space = {"segments": segments, "timetable": {"stages": 2, "clean_grid": None, "noise_grid": None}}
    warm_start = {"updates": 3, "batch": 4, "learning_rate": 1e-3, "ema_decay": 0.5}
    config = tiny_config(space=space, warm_start=warm_start, search={"trials": 9})
    run = flexsearch.search(config, out=tmp_path / "run")
    complete = front_of_run(open_run(tmp_path / "run")).complete.values()
    records = [one for one in complete if one.baseline is None]
    assert records
    assert all(one.candidate.schedule.has_amounts for one in records)
    assert {"dydit0.5", "dydit0.7", "diffcr"} <= {one.baseline for one in complete}
    (path,) = (tmp_path / "run" / "base").glob("warm_start-*.safetensors")
    weights = load_file(path)
    order, score = weights["width_order.hidden"], weights["keep.0.score.weight"]
    assert score.abs().max() > 0, "the score is trained"
    for one in records:
        model = FlexDiT.from_pretrained(tmp_path / "run" / "trials" / str(one.number) / "model")
        assert model.schedule.digest == one.candidate.schedule.digest
        assert (model.width_order.hidden == order).all()
        assert re.search(r"MRMR.* @5(x3)?/3,5(x3)?/[23] ", str(model.schedule))
        assert "tokens" in " ".join(draw_schedule(one.candidate.schedule, model.shape.grid))
    folder = run.export(records[0].number, tmp_path / "exported")
    assert FlexDiT.from_pretrained(folder).schedule == records[0].candidate.schedule

"""Exporting a trial: a folder that `FlexDiT.from_pretrained` and diffusers' pipelines read, with schedule and recipe.

The folder is written beside its place, read back, and compared with the trial's model before it gets its name.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

from flexsearch import __version__
from flexsearch.data.conditions import random_condition
from flexsearch.errors import FlexsearchError, UserError
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.loading import load_base
from flexsearch.report.run import Run
from flexsearch.report.trial_page import measurements_markdown
from flexsearch.study.store import TrialRecord
from flexsearch.trial.life import CHECKPOINT

CANDIDATE = "candidate.json"
RECIPE = "recipe.yaml"


def export_trial(run: Run, number: int, out: Path) -> Iterator[str]:
    """Writes the model of a trial to `out`, saying what it did.

    Raises:
        UserError: the trial has no model, or `out` exists.
    """
    record = run.trial(number)
    checkpoint = run.folder / "trials" / str(number) / CHECKPOINT
    if not checkpoint.is_dir():
        raise UserError(f"trial {number} is {record.state} and has no model", field="TRIAL")
    if out.exists():
        raise UserError("exists already", field=str(out), nearest=f"{out}-{number}")
    model = FlexDiT.from_pretrained(checkpoint).eval()
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        model.save_pretrained(temporary / "transformer", safe_serialization=True)
        load_base(run.settings.base).scheduler.save_pretrained(temporary / "scheduler")
        (temporary / CANDIDATE).write_text(json.dumps(record.candidate.to_dict(), indent=2))
        (temporary / RECIPE).write_text(yaml.safe_dump(_recipe(run, record), sort_keys=False))
        (temporary / "README.md").write_text(_card(run, record))
        _verify(model, temporary / "transformer", record)
        temporary.chmod(0o755)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    yield f"{out}: {record.candidate}, digest {record.digest}, rebuilt and compared"
    yield f"draw from it: flexsearch sample {out} --out samples.png"


def _verify(model: FlexDiT, folder: Path, record: TrialRecord) -> None:
    """The model read back has the trial's schedule and gives the same output to the bit, in every stage."""
    rebuilt = FlexDiT.from_pretrained(folder).eval()
    if rebuilt.schedule.digest != record.candidate.schedule.digest:
        raise FlexsearchError(f"the exported schedule is {rebuilt.schedule}, not {record.candidate.schedule}")
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(2, *model.shape.sample_size, generator=generator)
    condition = random_condition(model.shape, batch=2, generator=generator)
    with torch.inference_mode():
        for stage, low in enumerate(model.plan().timetable.edges[:-1]):
            timestep = torch.full((2,), low * 1000)
            expected, found = (one(noisy, timestep, stage=stage, **condition).sample for one in (model, rebuilt))
            if not torch.equal(expected, found):
                raise FlexsearchError(
                    f"the exported model differs by {(expected - found).abs().max():.3g} in stage {stage}"
                )


def _recipe(run: Run, record: TrialRecord) -> dict[str, Any]:
    """How to train the schedule further: base, data, schedule, and the paper's optimiser settings."""
    values = run.settings.to_dict()
    return {
        "base": values["base"],
        "data": values["data"],
        "sampling": values["sampling"],
        "candidate": record.candidate.to_dict(),
        "training": {
            "updates": 400_000,
            "batch": 256,
            "learning_rate": 1e-4,
            "decay": "constant",
            "weight_decay": 0.0,
            "ema_decay": 0.9999,
            "label_dropout": 0.1,
        },
        "found_by": {"study": run.name, "trial": record.number, "digest": record.digest, "flexsearch": __version__},
    }


def _card(run: Run, record: TrialRecord) -> str:
    return (
        f"# {record.candidate.schedule}\n\n"
        f"A density schedule of `{run.settings.base.checkpoint}`, found by flexsearch {__version__} "
        f"(study `{run.name}`, trial {record.number}, digest `{record.digest}`), after a short fine-tune.\n\n"
        "```python\nfrom flexsearch.models.flexdit import FlexDiT\n\n"
        'model = FlexDiT.from_pretrained("transformer")\n```\n\n'
        f"{measurements_markdown(record)}\n\n"
        "The weights are derived from the base's and are under the base's licence.\n"
    )

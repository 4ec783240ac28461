"""Make runs and trials that nobody ran: made-up measurements, in a real store where one is needed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

import flexsearch
from flexsearch.cli.results import open_run
from flexsearch.measurement import Measurement
from flexsearch.objectives.fid_infinity import BLOCKS, block_name
from flexsearch.report.dashboard import optuna_study_of
from flexsearch.report.run import Run
from flexsearch.schedule import Candidate, Dense, DensitySchedule, Pooling, Sampling, Sdtm, Timetable
from flexsearch.schedule.presets import paper_schedule
from flexsearch.schedule.timetable import equal_edges
from flexsearch.study.storage import connect, storage_url
from flexsearch.study.store import Store, TrialRecord
from flexsearch.trial.contract import TrialResult

QUALITY, LATENCY = "fid_fashion_cnn", "latency_ms"
CONFIG: dict[str, Any] = {
    "name": "fake",
    "base": {"checkpoint": "embedded:quickstart"},
    "data": {"name": "quickstart"},
    "space": {
        "segments": [
            {"family": "pooling", "depth": {"int": [1, 4]}},
            {"family": "sdtm", "sparse": "rest", "dense": 0},
            {"family": "dense", "depth": {"int": [1, 2]}},
        ],
        "timetable": {"stages": 2, "clean_grid": {"choice": [3, 4, 5]}, "noise_grid": {"choice": [2, 3]}},
        "sampler_steps": {"choice": [3, 5, 10]},
    },
    "objectives": {
        "quality": {"images": 500, "extractor": "fashion-cnn", "reference": "embedded:quickstart"},
        "latency": {"batch": 8},
    },
    "trial": {"updates": 2},
}
DENSE = ((10.0, 20.0, 10), (16.0, 10.0, 5), (40.0, 6.0, 3))
"""Quality, latency in ms and sampler steps of the dense baselines."""


def measured(
    quality: float,
    latency: float,
    *,
    images: int = 500,
    seconds: dict[str, float] | None = None,
) -> TrialResult:
    """What a trial came to; the latency scatters by 0.5 %."""
    protocol = {"images": images, "seed": 0}
    found = [
        Measurement(name=QUALITY, value=quality, unit="1", protocol=protocol),
        Measurement(name=LATENCY, value=latency, unit="ms/image", spread=latency / 200, protocol={"batch": 8}),
        Measurement(name="macs", value=latency * 1e6, unit="MACs/image"),
    ]
    return TrialResult(state="complete", measurements={one.name: one for one in found}, seconds=seconds or {})


def tiny_store(
    folder: Path, points: Sequence[tuple[float, float]], *, dense: Sequence[tuple[float, float, int]] = ()
) -> Store:
    """A store alone, of schedules of 4 blocks: dense baselines (quality, latency, steps), then searched trials."""
    folder.mkdir(exist_ok=True)
    store = Store(connect(storage_url(folder, None)), study="s", seed=0)
    schedule = DensitySchedule(segments=(Pooling(depth=1), Dense(depth=3)))
    rows: list[tuple[str | None, DensitySchedule, float, float, int]] = [
        (f"dense, {steps} steps", DensitySchedule.all_dense(4), quality, latency, steps)
        for quality, latency, steps in dense
    ]
    rows += [(None, schedule, quality, latency, 10) for quality, latency in points]
    for number, (baseline, one, quality, latency, steps) in enumerate(rows):
        store.start(number, Candidate(schedule=one, sampling=Sampling(steps=steps)), baseline=baseline)
        store.record(number, measured(quality, latency))
    return store


def trial_record(
    number: int,
    quality: float,
    latency: float = 1.0,
    *,
    sampling: Sampling = Sampling(steps=5),
    baseline: str | None = None,
    num_updates: int = 60,
) -> TrialRecord:
    """A complete trial outside of any store; all of its blocks are dense."""
    return TrialRecord(
        number=number,
        candidate=Candidate(schedule=DensitySchedule.all_dense(4), sampling=sampling),
        baseline=baseline,
        state="complete",
        reason=None,
        attempts=1,
        started="",
        ended=None,
        measurements=measured(quality, latency).measurements,
        num_updates=num_updates,
    )


def searched(index: int) -> Candidate:
    """Another schedule of 12 blocks for every index below 24."""
    pooling, dense = 1 + index % 4, 1 + index // 4 % 2
    return Candidate(
        schedule=DensitySchedule(
            segments=(Pooling(depth=pooling), Sdtm(sparse=10 - pooling - dense, dense=0), Dense(depth=dense)),
            timetable=Timetable(edges=equal_edges(2), grids=(5, 2 + index // 8 % 3)),
        ),
        sampling=Sampling(steps=5),
    )


def dense_under(steps: int, **sampling: Any) -> Candidate:
    """The dense base of 12 blocks under a sampling."""
    return Candidate(schedule=DensitySchedule.all_dense(12), sampling=Sampling(steps=steps, **sampling))


NOISE_FREEDOM = 10
"""Seeds under which two trials are measured again: degrees of freedom of the paired noise."""


@dataclass(frozen=True, kw_only=True)
class FakeRun:
    """What is in the run.

    Attributes:
        folder: to make it in.
        points: (quality, latency in ms) of searched trials, which follow the three dense baselines and the paper's.
        name: of the study.
        noise: paired noise of the quality; 0 measures none.
        has_study: whether Optuna's study is made too, which the dashboard needs.
        images: in the protocol of single trials that differ from the others', by number.
        more: further trials, the last: name of a baseline or None, candidate, quality, latency in ms.
    """

    folder: Path
    points: Sequence[tuple[float, float]] = ((14.0, 7.0), (22.0, 5.0), (12.0, 9.0), (30.0, 8.0))
    name: str = "fake"
    noise: float = 0.3
    has_study: bool = False
    images: dict[int, int] = field(default_factory=dict)
    more: Sequence[tuple[str | None, Candidate, float, float]] = ()

    def make(self) -> Run:
        self.folder.mkdir()
        config = {**CONFIG, "name": self.name}
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))
        store = Store(connect(storage_url(self.folder, None)), study=self.name, seed=0)
        store.save_config(config, version=flexsearch.__version__)
        run = open_run(self.folder)
        optuna_study = optuna_study_of(run) if self.has_study else None
        dense = DensitySchedule.all_dense(12)
        paper = Candidate(
            schedule=paper_schedule(num_blocks=12, grid=run.settings.shape.grid), sampling=Sampling(steps=10)
        )
        rows: list[tuple[str | None, Candidate, float, float]] = []
        for quality, latency, steps in DENSE:
            candidate = Candidate(schedule=dense, sampling=Sampling(steps=steps))
            rows.append(("dense" if steps == 10 else f"dense, {steps} steps", candidate, quality, latency))
        rows.append(("FlexDiT paper", paper, 13.0, 14.0))
        rows += [(None, searched(index), q, ms) for index, (q, ms) in enumerate(self.points)]
        rows += self.more
        for number, (baseline, candidate, quality, latency) in enumerate(rows):
            run.store.start(number, candidate, baseline=baseline)
            run.store.record(number, self._result(number, quality, latency))
            if optuna_study is not None:
                optuna_study.add_baseline(baseline or "searched", {})
                optuna_study.tell(number, [quality, latency])
            picture = run.folder / "trials" / str(number) / "samples.png"
            picture.parent.mkdir(parents=True)
            Image.fromarray(np.full((35, 171, 3), 10 * number % 256, dtype=np.uint8)).save(picture)
        if self.noise and len(self.points) > 1:
            for seed, (sign, number) in product(range(1, 1 + NOISE_FREEDOM), ((1, 4), (-1, 5))):
                quality, latency = self.points[number - 4]
                quality += sign * (-1) ** seed * self.noise / 2**0.5
                run.store.record(number, self._result(number, quality, latency), seed=seed)
        return run

    def _result(self, number: int, quality: float, latency: float) -> TrialResult:
        images = self.images.get(number, 500)
        return measured(quality, latency, images=images, seconds={"sample": 60.0})


def confirm(run: Run, truth: dict[int, tuple[float, float]], *, seeds: int = 3) -> None:
    """Measures trials again: quality and latency as in `truth`, with a little noise."""
    generator = np.random.default_rng(0)
    for seed in range(seeds):
        for number, (quality, latency) in truth.items():
            parts = quality + generator.normal(0, 0.02, max(BLOCKS))
            rows = [(LATENCY, latency * (1 + generator.normal(0, 0.001)), "ms/image")]
            for num in BLOCKS:
                means = [part.mean() for part in np.split(parts, num)]
                rows += [(block_name(QUALITY, index, num), float(mean), "1") for index, mean in enumerate(means)]
            found = {n: Measurement(name=n, value=v, unit=u, protocol={"seed": seed}) for n, v, u in rows}
            result = TrialResult(state="complete", measurements=found)
            run.store.record_confirmation(number, result, seed=10_000 + seed, images=2000)

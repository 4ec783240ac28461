"""One fine-tune of one schedule, measured on its way: the rows that the benchmark's table is made of.

A trajectory is (schedule, seed). Its learning rate is constant, so its first k updates are a fine-tune of k updates. At
every milestone the averaged weights are judged by everything that might predict what becomes of the schedule:

- Frechet distances of 500 samples to the real images at every number of sampler steps, and of the first 100 and 200;
- how far samples are from those of the dense base at the most steps and from the same noise: mean squared distance of
  pixels and of features, and the Frechet distance between the two sets;
- training loss and distance to the dense base's output on fixed batches, times and noise.

Everything lies in `FOLDER/<digest>-<seed>/`: one JSON file per milestone, and a checkpoint from which a longer
trajectory goes on. A killed process loses the updates since the last milestone, no more.
"""

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flexsearch.config import RunConfig
from flexsearch.data.images import to_uint8
from flexsearch.diffusion.batches import BatchStream
from flexsearch.diffusion.sampling import generate, plan_of
from flexsearch.diffusion.training import Training
from flexsearch.files import replacing, write_atomically
from flexsearch.models.flexdit import FlexDiT
from flexsearch.objectives.features import extract_features
from flexsearch.objectives.frechet import feature_statistics, frechet_distance
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.sampling import Sampling
from flexsearch.trial.inputs import load_inputs
from flexsearch.trial.shared_files import SharedFiles
from flexsearch.trial.teacher import live_teacher, stored_teacher, write_teacher_outputs
from flexsearch.trial.warm_start import load_warm_start

STEPS = (3, 4, 5, 7, 10)
LATE_STEPS = (5, 10)
"""Sampler steps at which milestones beyond the table's lengths are judged, but for the last."""
FINAL_IMAGES = 2000
"""Images of the last milestone of a long trajectory: what everything else is to predict should have little noise."""
FEWER_IMAGES = (100, 200)
FIXED_BATCHES = 16
FIXED_SEED = 1_000_000
"""Of the batches on which losses are compared; no trajectory trains on them."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all trajectories share.

    Attributes:
        config: protocol of the benchmark.
        folder: where trajectories lie.
        start: a configuration whose warm start the trajectories begin with.
        most_updates: of any trajectory: how many of the teacher's lessons are computed.
    """

    config: RunConfig
    folder: Path
    start: RunConfig
    most_updates: int

    @cached_property
    def inputs(self) -> Any:
        return load_inputs(self.config.trial_settings)

    @cached_property
    def model(self) -> FlexDiT:
        path = SharedFiles.of(self.folder, self.start.trial_settings).warm_start
        return load_warm_start(path, base=self.inputs.base, space=self.start.search_space)

    def stream(self, seed: int) -> BatchStream:
        space = self.config.search_space
        return BatchStream(
            data=self.inputs.data,
            batch=self.config.trial.batch,
            seed=seed,
            edges=space.time_edges,
            shift=space.target.shift,
        )

    def teacher(self, seed: int) -> Any:
        """The dense base on the stream of `seed`; its outputs are computed once."""
        path = self.folder / f"lessons-{seed}-{self.most_updates}.safetensors"
        with locked(path.with_suffix(".lock"), wait=True):
            if not path.exists():
                write_teacher_outputs(
                    path,
                    base=self.inputs.base.model,
                    process=self.inputs.process,
                    stream=self.stream(seed),
                    updates=self.most_updates,
                    report=lambda _: None,
                )
        return stored_teacher(path)

    def samples(self, model: FlexDiT, *, steps: int, seed: int, num: int) -> Tensor:
        """(num, C, H, W) uint8 images."""
        fid = self.config.objectives.quality
        drawn = generate(
            model.eval(),
            self.inputs.base.scheduler,
            plan_of(model, self.inputs.base.scheduler, Sampling(steps=steps), self.config.sampling),
            conditions=self.inputs.data.conditions,
            num_images=num,
            batch=fid.batch,
            seed=seed,
            settings=self.config.sampling,
        )
        return torch.cat([to_uint8(batch) for batch in drawn])

    def dense_samples(self, seed: int, num: int) -> Tensor:
        """The dense base's images from the same noise, at the most steps."""
        path = self.folder / f"dense-{seed}-{num}.pt"
        with locked(path.with_suffix(".lock"), wait=True):
            if not path.exists():
                with replacing(path) as temporary:
                    torch.save(self.samples(self.inputs.base.model, steps=max(STEPS), seed=seed, num=num), temporary)
        return torch.load(path, weights_only=True)

    def features(self, images: Tensor) -> Tensor:
        """(N, D)"""
        (evaluator,) = self.inputs.evaluators
        return extract_features(images, extractor=evaluator.extractor, batch=100)


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Holds `path` as a lock that dies with the process; yields whether it is held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def quality(context: Bench, model: FlexDiT, *, steps: int, seed: int, num: int) -> dict[str, float]:
    """What samples at `steps` are worth, with the CPU seconds that it took to know."""
    begun = time.process_time()
    (evaluator,) = context.inputs.evaluators
    images = context.samples(model, steps=steps, seed=seed, num=num)
    features = context.features(images)
    found = {"fid": frechet_distance(feature_statistics(features), evaluator.reference.statistics)}
    seconds = time.process_time() - begun
    for fewer in FEWER_IMAGES:
        found[f"fid_{fewer}"] = frechet_distance(feature_statistics(features[:fewer]), evaluator.reference.statistics)
    for half, rows in (("first", features[: num // 2]), ("second", features[num // 2 :])):
        found[f"fid_{half}_half"] = frechet_distance(feature_statistics(rows), evaluator.reference.statistics)
    dense = context.dense_samples(seed, num)
    dense_features = context.features(dense)
    found["pixel_distance"] = float(((images.float() - dense.float()) / 255).square().mean())
    found["feature_distance"] = float((features - dense_features).square().mean())
    found["fid_to_dense"] = frechet_distance(feature_statistics(features), feature_statistics(dense_features))
    return {**found, "images": num, "seconds": round(seconds, 2)}


@torch.no_grad()
def losses(context: Bench, model: FlexDiT) -> dict[str, float]:
    """Training loss and mean squared distance to the dense base's output, on the same fixed batches for all."""
    begun = time.process_time()
    process, teach = context.inputs.process, live_teacher(context.inputs.base.model)
    model.eval()
    loss = distance = 0.0
    teacher_seconds = 0.0
    for index in range(FIXED_BATCHES):
        batch = context.stream(FIXED_SEED).at(index)
        noisy, model_time = process.noisy(batch.clean, batch.noise, batch.time), process.model_time(batch.time)
        output = model(noisy, model_time, **batch.condition).sample
        loss += float(process.loss(output, clean=batch.clean, noise=batch.noise, time=batch.time).mean())
        asked = time.process_time()
        taught = teach(index, batch, noisy, model_time)
        teacher_seconds += time.process_time() - asked
        distance += float((output - taught).square().mean())
    seconds = time.process_time() - begun - teacher_seconds
    return {
        "loss": loss / FIXED_BATCHES,
        "distance_to_dense": distance / FIXED_BATCHES,
        "loss_seconds": round(seconds, 3),
    }


@dataclass(frozen=True, kw_only=True)
class Milestone:
    """Where a trajectory is judged: after how many updates, at which sampler steps, by how many images (None: as many
    as the protocol says)."""

    update: int
    sampler_steps: tuple[int, ...] = STEPS
    images: int | None = None

    def known(self, folder: Path) -> dict[str, Any]:
        """What a trajectory's folder holds of it."""
        path = folder / f"{self.update}.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def missing_steps(self, folder: Path) -> list[int]:
        return [steps for steps in self.sampler_steps if str(steps) not in self.known(folder).get("samples", {})]


def extend(context: Bench, schedule: DensitySchedule, *, seed: int, milestones: tuple[Milestone, ...]) -> bool:
    """Brings a trajectory to its last milestone, from wherever it is; False if another process is at it.

    The dense schedule is the base as it is, with one milestone, 0.
    """
    folder = context.folder / f"{schedule.digest}-{seed}"
    with locked(folder / "lock", wait=False) as is_mine:
        if not is_mine:
            return False
        missing = [milestone for milestone in milestones if milestone.missing_steps(folder)]
        if not missing:
            return True
        write_atomically(folder / "schedule.json", json.dumps(schedule.to_dict()))
        model = (context.inputs.base.model if schedule.is_dense else context.model).clone()
        model.set_schedule(schedule)
        model.drop_unused_weights()
        training = Training(
            model,
            process=context.inputs.process,
            stream=context.stream(seed),
            optimisation=replace(context.config.trial, updates=milestones[-1].update),
            teacher=context.teacher(seed),
        )
        checkpoint, spent = folder / "checkpoint.pt", 0.0
        if checkpoint.exists():
            state = torch.load(checkpoint, weights_only=True)
            training.load_state_dict(state["training"])
            spent = state["seconds"]
        steps = training.run()
        for milestone in missing:
            if training.num_done > milestone.update:
                raise RuntimeError(f"{folder} is past update {milestone.update}, which was not judged")
            while training.num_done < milestone.update:
                begun = time.process_time()
                next(steps)
                spent += time.process_time() - begun
            model, num = training.averaged, milestone.images or context.config.objectives.quality.images
            known = milestone.known(folder)
            found = known or {
                "update": milestone.update,
                "seed": seed,
                "training_seconds": round(spent, 2),
                **losses(context, model),
                "samples": {},
            }
            found["samples"] |= {
                str(steps): quality(context, model, steps=steps, seed=seed, num=num)
                for steps in milestone.missing_steps(folder)
            }
            if milestone.update and not known:
                with replacing(checkpoint) as temporary:
                    torch.save({"training": training.state_dict(), "seconds": spent}, temporary)
            write_atomically(folder / f"{milestone.update}.json", json.dumps(found))
        return True

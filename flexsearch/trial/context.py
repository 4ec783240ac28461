"""Load what every trial in a process works with, once per process."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from safetensors.torch import load_file

from flexsearch.diffusion.batches import BatchStream
from flexsearch.models.data_gaussian import DataGaussian
from flexsearch.models.flexdit import FlexDiT
from flexsearch.space.search_space import SearchSpace
from flexsearch.trial.device_lock import DeviceLock
from flexsearch.trial.inputs import Inputs, load_inputs
from flexsearch.trial.receipt import is_whole
from flexsearch.trial.settings import TrialSettings, load_settings
from flexsearch.trial.shared_files import SharedFiles
from flexsearch.trial.teacher import Teacher, live_teacher, stored_teacher
from flexsearch.trial.warm_start import load_warm_start


@dataclass(frozen=True, kw_only=True)
class TrialContext:
    """Settings, inputs, and the model that trials start from; `start` is cloned before it is trained."""

    settings: TrialSettings
    space: SearchSpace
    shared: SharedFiles
    inputs: Inputs
    start: FlexDiT
    device_lock: DeviceLock

    def take_gaussian(self, data: DataGaussian) -> None:
        """Give the models mean and covariance of the base's data."""
        for model in (self.inputs.base.model, self.start):
            model.set_data_gaussian(data)

    def stream(self, seed: int) -> BatchStream:
        """Give the training batches of every trial with `seed`."""
        return BatchStream(
            data=self.inputs.training_data,
            batch=self.settings.trial.batch,
            seed=seed,
            edges=self.space.time_edges,
            shift=self.space.target.shift,
            guidance=self.settings.sampling.embedded_guidance(self.space.target.shape),
        )

    def teacher(self, seed: int) -> Teacher:
        """Give the dense base on that stream: from its stored outputs if there are any for `seed`."""
        path = self.shared.teacher_outputs(self.settings, seed=seed)
        return stored_teacher(path) if path.exists() else live_teacher(self.inputs.base.model)


@lru_cache(maxsize=1)
def trial_context(run_dir: Path) -> TrialContext:
    """Load what the trials of `run_dir` need; `prepare` has made its shared files."""
    settings = load_settings(run_dir)
    inputs, space = load_inputs(settings), settings.search_space
    shared = SharedFiles.of(run_dir, settings)
    start = inputs.base.model
    if settings.warm_start is not None and not settings.is_free:
        start = load_warm_start(shared.warm_start, base=inputs.base, space=space)
    device_lock = DeviceLock(shared.device_lock)
    context = TrialContext(
        settings=settings, space=space, shared=shared, inputs=inputs, start=start, device_lock=device_lock
    )
    if space.starts and is_whole(shared.data_gaussian(settings)):
        context.take_gaussian(DataGaussian.from_tensors(load_file(shared.data_gaussian(settings))))
    return context

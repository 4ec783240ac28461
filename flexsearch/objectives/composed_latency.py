"""Latency by composition: the times of single operations on one device, and from them that of any candidate.

    latency(candidate) = per image + sum over sampler steps (per step + sum over blocks time(role, queries, keys))

Which operation a block runs at a sampler step is the plan's business. How the times are measured: `operation_times.py`.
Needs no torch: a profile is a JSON file.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from flexsearch.errors import UserError
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.grid import TokenGrid
from flexsearch.schedule.plan import Operation, Plan, lower
from flexsearch.schedule.roles import Role

OperationKey = tuple[Role, TokenGrid, TokenGrid]

PLATEAU_WITHIN = 0.05
"""Sparse grids whose passes differ by less than this, noise included, are on one plateau."""


def key_of(operation: Operation) -> OperationKey:
    """What decides the time of an operation: its role and its grids, not its place in the model."""
    return (operation.kind, operation.queries, operation.keys)


@dataclass(frozen=True, kw_only=True)
class OperationTime:
    """Time of one block in one role, in ms per image and forward pass (with guidance, of both its rows)."""

    kind: Role
    queries: TokenGrid
    keys: TokenGrid
    ms: float


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """A candidate that the profile was not fitted on: what was predicted, and what was measured, in ms per image."""

    candidate: Candidate
    predicted_ms: float
    measured_ms: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "schedule": str(self.candidate),
            "candidate": self.candidate.to_dict(),
            "predicted_ms": self.predicted_ms,
            "measured_ms": self.measured_ms,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "HeldOut":
        return cls(
            candidate=Candidate.from_dict(values["candidate"]),
            predicted_ms=values["predicted_ms"],
            measured_ms=values["measured_ms"],
        )


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """Sparse grids, fewest tokens first, whose passes take the same time but for the share `within`.

    The largest of them keeps most tokens and costs nothing.
    """

    grids: tuple[TokenGrid, ...]
    within: float


@dataclass(frozen=True, kw_only=True)
class LatencyProfile:
    """Times of the operations of a model on one device.

    Attributes:
        num_blocks: blocks of the model.
        grid: its dense tokens.
        operations: time of every operation that was profiled.
        step_ms: what a sampler step takes beside its blocks: embedding, conditioning, head, guidance and the sampler.
        image_ms: what an image takes beside its sampler steps.
        reference_ms: latency of the reference workload, a batch, while the profile was made.
        sampler_times: the sampler's diffusion times, from noise to data, by its number of steps.
        noise: relative standard error of a time that was fitted, the median.
        error: median relative error on `held_out`.
        kendall_tau: rank correlation of prediction and measurement on `held_out`; None where nothing can be ranked.
        held_out: candidates that were timed end to end and not used for the fit.
        protocol: how all this was measured.
    """

    num_blocks: int
    grid: TokenGrid
    operations: tuple[OperationTime, ...]
    step_ms: float
    image_ms: float
    reference_ms: float
    sampler_times: Mapping[int, tuple[float, ...]]
    noise: float
    error: float
    kendall_tau: float | None
    held_out: tuple[HeldOut, ...]
    protocol: Mapping[str, Any]

    @cached_property
    def _ms(self) -> dict[OperationKey, float]:
        return {(one.kind, one.queries, one.keys): one.ms for one in self.operations}

    def _plan(self, candidate: Candidate) -> Plan:
        return lower(candidate.schedule, num_blocks=self.num_blocks, grid=self.grid)

    def covers(self, candidate: Candidate) -> bool:
        """Whether every operation and the number of sampler steps were profiled."""
        operations = {key_of(operation) for stage in self._plan(candidate).stages for operation in stage}
        return candidate.sampling.steps in self.sampler_times and operations <= self._ms.keys()

    def predict(self, candidate: Candidate, *, reference_ms: float | None = None) -> float:
        """Latency of `candidate` in ms per image.

        Args:
            candidate: schedule and sampler steps.
            reference_ms: latency of the reference workload now; the device may be slower or faster than it was when
                the profile was made. None takes it to be as fast.

        Raises:
            UserError: an operation or the number of sampler steps was not profiled.
        """
        if candidate.sampling.steps not in self.sampler_times:
            nearest = min(self.sampler_times, key=lambda steps: abs(steps - candidate.sampling.steps))
            raise UserError(
                f"{candidate.sampling.steps} were not profiled", field="profile: sampler_steps", nearest=nearest
            )
        plan = self._plan(candidate)
        try:
            stages = [sum(self._ms[key_of(operation)] for operation in stage) for stage in plan.stages]
        except KeyError as error:
            kind, queries, keys = error.args[0]
            raise UserError(f"{kind} from {keys} to {queries} tokens was not profiled", field="profile") from None
        times = self.sampler_times[candidate.sampling.steps]
        ms = self.image_ms + sum(self.step_ms + stages[plan.stage_of(time)] for time in times)
        return ms if reference_ms is None else ms * reference_ms / self.reference_ms

    def sparse_pass_ms(self) -> dict[TokenGrid, float]:
        """Time of one forward pass that is sparse in all blocks (one merge, one recover), by sparse grid."""
        times: dict[TokenGrid, float] = {}
        for one in self.operations:
            if one.kind == "sparse":
                ends = self._ms["merge", one.queries, self.grid] + self._ms["recover", self.grid, one.queries]
                times[one.queries] = self.step_ms + ends + (self.num_blocks - 2) * one.ms
        return times

    def plateaus(self) -> list[Plateau]:
        """Runs of two or more sparse grids that cost the same: their difference, and twice the standard error of a
        difference, are below `PLATEAU_WITHIN`. A profile that is too noisy to tell finds none."""
        runs: list[list[tuple[TokenGrid, float]]] = []
        for grid, ms in sorted(self.sparse_pass_ms().items(), key=lambda item: item[0].num_tokens):
            if runs and self._within([*runs[-1], (grid, ms)]) <= PLATEAU_WITHIN:
                runs[-1].append((grid, ms))
            else:
                runs.append([(grid, ms)])
        return [Plateau(grids=tuple(grid for grid, _ in run), within=self._within(run)) for run in runs if len(run) > 1]

    def _within(self, run: Sequence[tuple[TokenGrid, float]]) -> float:
        times = [ms for _, ms in run]
        return max(times) / min(times) - 1 + 2 * math.sqrt(2) * self.noise

    def to_dict(self) -> dict[str, Any]:
        """JSON values; `from_dict` is the inverse."""
        return {
            **{spec.name: getattr(self, spec.name) for spec in fields(self)},
            "grid": asdict(self.grid),
            "operations": [asdict(one) for one in self.operations],
            "sampler_times": {str(num): list(times) for num, times in self.sampler_times.items()},
            "held_out": [one.to_dict() for one in self.held_out],
            "protocol": dict(self.protocol),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "LatencyProfile":
        operations: Sequence[Mapping[str, Any]] = values["operations"]
        return cls(
            **{
                **values,
                "grid": TokenGrid(**values["grid"]),
                "operations": tuple(
                    OperationTime(**{**one, "queries": TokenGrid(**one["queries"]), "keys": TokenGrid(**one["keys"])})
                    for one in operations
                ),
                "sampler_times": {int(num): tuple(times) for num, times in values["sampler_times"].items()},
                "held_out": tuple(HeldOut.from_dict(one) for one in values["held_out"]),
            }
        )

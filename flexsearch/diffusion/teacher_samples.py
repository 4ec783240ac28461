"""Samples of the dense base that a schedule is taught by, in place of data. Needs no torch."""

from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import MinLen

from flexsearch.errors import UserError
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.solver import SolverName
from flexsearch.schedule.start import Start
from flexsearch.settings import PositiveCount, settings


@settings
class TeacherSamples:
    """Say what a schedule is taught by: what it draws in few steps shall be what the dense base draws in more, from the
    same noise (Luhman & Luhman 2021, arXiv 2101.02388). No data are read.

    Attributes:
        images: drawn by the base once per run; a fine-tune goes through them again and again.
        steps: sampler steps that the schedule draws in, in turn, update by update. A step costs a model call, and its
            way back.
        sampling: how the base draws them, spelled as in a recipe (`sampler_steps` among it); None is its converged
            samples.
    """

    images: PositiveCount = 2048
    steps: Annotated[tuple[PositiveCount, ...], MinLen(1)] = (2, 3)
    sampling: Mapping[str, Any] | None = None

    def drawn_in(self, *, solver: SolverName, start: Start) -> tuple[Sampling, ...]:
        """Give the schedule's samplings while it is taught: nothing reused and no gain.

        Raises:
            UserError: one of them calls no model.
        """
        return tuple(Sampling(steps=steps, solver=solver, start=start) for steps in self.steps)

    def taught_by(self, converged: Sampling) -> Sampling:
        """Give the base's sampling.

        Args:
            converged: where none is named.

        Raises:
            UserError: what is named is no sampling.
        """
        if self.sampling is None:
            return converged
        try:
            return Sampling.from_dict(self.sampling)
        except UserError as error:
            raise error.under("sampling") from None
        except KeyError as error:
            raise UserError("is missing", field=f"sampling.{error.args[0]}") from None

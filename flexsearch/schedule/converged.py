"""Say how the dense base samples when others are compared with it or taught by it: second order (Adams-Bashforth),
nothing reused, all rows of guidance, no gain."""

from flexsearch.schedule.sampling import Sampling


def converged(steps: int) -> Sampling:
    """Say how the base samples when it is the reference."""
    return Sampling(steps=steps, solver="ab2")


def described(sampling: Sampling) -> str:
    """Say what a reference is, for protocols."""
    return f"the dense base's converged samples ({sampling.solver}, {sampling.steps} steps)"

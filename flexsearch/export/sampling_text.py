"""A sampling in plain words, for the card."""

from collections.abc import Iterator

from flexsearch.schedule.cache import Cache
from flexsearch.schedule.gain import Gain
from flexsearch.schedule.guidance import ALL_ROWS, GuidanceRows
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.solver import SolverName

_SOLVERS: dict[SolverName, str] = {
    "base": "the base's own scheduler",
    "ab2": "Adams-Bashforth of second order (`ab2`)",
    "heun": "Heun's method (`heun`), with two model calls for each step but the last",
    "dpmsolver++": "DPM-Solver++(2M) (`dpmsolver++`)",
    "unipc": "UniPC (`unipc`)",
    "deis": "DEIS (`deis`)",
}


def sampling_lines(sampling: Sampling, folded: Gain | None) -> Iterator[str]:
    """Say what a sampling does, a sentence or two for each axis that it uses.

    Args:
        sampling: whole, with the gain that weights carry.
        folded: the part of the gain that weights carry.
    """
    yield f"{sampling.steps} steps of {_SOLVERS[sampling.solver]}."
    if sampling.shift != 1:
        yield f"Times t are shifted towards noise, to {sampling.shift:g} t / (1 + {sampling.shift - 1:g} t)."
    if sampling.start != "model":
        known = {"mean": "m, takes the data mean of each label", "gaussian": "g, takes mean and covariance of the data"}
        yield f"The first step, {known[sampling.start]}, which these weights carry, and calls no model."
    pattern = sampling.pattern
    if set(pattern) & set("pn"):
        yield _reuse(sampling.cache, pattern)
    if sampling.guidance != ALL_ROWS:
        yield _guidance(sampling.guidance)
    yield from _gain(sampling.gain, folded)


def _reuse(cache: Cache, pattern: str) -> str:
    where = f"the first {cache.first} and the last {cache.last} blocks"
    what = "the residual of the blocks between" if cache.reuse == "span" else "the outputs of the others' modules"
    partial = f"; p computes {where} and takes {what} from the full steps before it" if "p" in pattern else ""
    null = "; n computes none and takes the whole output of the full steps before it" if "n" in pattern else ""
    order = "followed linearly in diffusion time" if cache.order else "as the last of them left it"
    return f"Pattern of steps `{pattern}`: F computes all blocks{partial}{null}. What is taken is {order}."


def _guidance(guidance: GuidanceRows) -> str:
    times = f"diffusion times {guidance.start:g} to {guidance.end:g}"
    if guidance.every == 1:
        return f"Guidance at {times}: both of its rows are computed there, and elsewhere only the row with a condition."
    return (
        f"Guidance at {times}: one full step in {guidance.every} computes both of its rows, the first among them. The "
        "others compute the row with a condition and are moved by the last difference of the two."
    )


def _gain(gain: Gain, folded: Gain | None) -> Iterator[str]:
    done, left = "The weights in this folder carry it.", "flexsearch applies it at run time."
    if gain.stream != 1:
        is_folded = folded is not None and folded.stream != 1
        yield f"Gain: all tokens times {gain.stream:g} before block {gain.at}. {done if is_folded else left}"
    if gain.skip != 1:
        is_folded = folded is not None and folded.skip != 1
        what = "the dense tokens that waited, where sparse ones are merged into them"
        yield f"Gain: {what}, times {gain.skip:g}. {done if is_folded else left}"

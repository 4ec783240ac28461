"""Times of terms, such as single operations, from whole batches of images under plans that were designed for it.

An operation timed alone, in a loop, is faster than the same operation inside a forward pass, where weights and tokens
come from farther away and the framework's own work lies between the operations. So nothing is timed alone: whole
batches are generated under plans that hold as much of one operation as a plan can (`flexsearch.latency.design`), and
the times of the terms are the least-squares solution, none negative, of

    time of an image = sum over terms (how often it occurs * its time)

Making a module's sparse tokens, once per module, is thereby counted with the block that recovers the dense ones. A few
candidates of the space join the fit, so that neighbours as they occur count too.

Why this and not clocks around each operation: on the quickstart's base (a CPU at rest, 54 candidates outside the fit,
8 rounds) clocks in real passes predicted 4.5 % too little; such a design, without the empty plan, 0.1 %, with a median
error of 1.0 %.

Every plan is timed between two runs of the reference workload, and the median of its ratios to the mean of those two is
taken. A second run of the same, while others' work made the machine three times slower, predicted what the first had
measured with a median error of 0.9 %; with the ratio of the medians of all runs, 4.1 %.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from flexsearch.latency.terms import Term, terms_of
from flexsearch.schedule.plan import Plan


def solve(plans: Sequence[Plan], times: Sequence[float]) -> dict[Term, float]:
    """Find the times of terms that explain those of whole plans best, by relative error."""
    counts = [terms_of(plan) for plan in plans]
    terms = list(dict.fromkeys(term for count in counts for term in count))
    rows = np.array([[count[term] for term in terms] for count in counts], dtype=np.float64)
    found, _ = nnls(rows / np.asarray(times)[:, None], np.ones(len(rows)))
    return dict(zip(terms, map(float, found), strict=True))

"""The search without training, on the base that the stage `search` made, and its front against the trained one."""

import numpy as np

from flexsearch.report.front import Front, front_of
from flexsearch.study.pareto import hypervolume
from stages.box import Box, Entry
from stages.search import printed, said_of, search_and_confirm, space_of, stored

CONFIRM_SHARE = 0.25


def run(box: Box) -> Entry:
    """Search how the dense base samples, and compare with what training brought."""
    if not (box.scratch / "base" / "transformer").exists():
        raise FileNotFoundError(f"{box.scratch / 'base'} has no base: the stage `search` makes it")
    trained = space_of(box)
    space = {name: trained.space[name] for name in ("sampler_steps", "solver", "cache", "guidance")}
    space |= {"segments": [{"family": "dense", "depth": "rest"}]}
    space |= {"gain": {name: trained.space["gain"][name] for name in ("stream", "at")}}  # one of the skip does nothing
    config = space_of(box, name=f"{trained.name}_free", space=space, warm_start=None, **{"trial.updates": 0})
    front = search_and_confirm(config, box, study="free", keep_s=CONFIRM_SHARE * box.seconds)
    said = said_of(front)
    if (box.scratch / "search" / "study.db").exists():
        said.append(_compared(front, front_of(stored(trained, box.scratch / "search"), trained.objectives.names)))
    return Entry(lines=said, log="\n\n".join(["\n".join(f"- {one}" for one in said), printed(front)]))


def _compared(free: Front, trained: Front) -> str:
    """Hypervolumes of both fronts and of their union, up to the trained one's reference point."""
    reference = np.array(trained.reference_point)
    tables = [np.array([one.objectives for one in front.as_searched.points]) for front in (free, trained)]
    alone, searched, both = (hypervolume(one, reference=reference) for one in (*tables, np.concatenate(tables)))
    return (
        f"hypervolume to one reference: free {alone:.4g}, with training {searched:.4g}, both {both:.4g}: trials that "
        f"train add {both / alone - 1:.1%} to the free search, and it adds {both / searched - 1:.1%} to them"
    )

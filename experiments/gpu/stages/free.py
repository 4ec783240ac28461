"""The search without training, on the base that the stage `search` made, and its front against the trained one."""

import numpy as np
from stages.box import Box, Entry
from stages.search import Watch, confirm, front_rows, keep_front, run_until, said_of, space_of

from flexsearch.report.front import Front, front_of
from flexsearch.study.pareto import hypervolume
from flexsearch.study.storage import connect, storage_url
from flexsearch.study.store import Store

CONFIRM_SHARE = 0.25


def run(box: Box) -> Entry:
    """Search how the dense base samples, and compare with what training brought."""
    if not (box.scratch / "base" / "transformer").exists():
        raise FileNotFoundError(f"{box.scratch / 'base'} has no base: the stage `search` makes it")
    config = space_of(
        box,
        name="gpu_free",
        space__segments=[{"family": "dense", "depth": "rest"}],
        space__timetable={},
        space__dense=False,
        warm_start=None,
        trial__updates=0,
    )
    run_dir = box.scratch / "free"
    store = run_until(config, run_dir, Watch(box, keep_s=CONFIRM_SHARE * box.seconds))
    confirm(store, config, run_dir, box)
    front = front_of(store, config.objectives.names)
    keep_front(front, box, "free")
    said = said_of(front)
    trained = _trained(box)
    if trained is not None:
        said.append(_compared(front, trained))
    draw(front, trained, box)
    return Entry(lines=said, log="\n\n".join(["\n".join(f"- {one}" for one in said), front_rows(front)]))


def _trained(box: Box) -> Front | None:
    """The front of the stage `search`, if there is one."""
    run_dir, config = box.scratch / "search", space_of(box)
    if not (run_dir / "study.db").exists():
        return None
    store = Store(connect(storage_url(run_dir, None)), study=config.name, seed=config.search.seed)
    return front_of(store, config.objectives.names)


def _compared(free: Front, trained: Front) -> str:
    """Hypervolumes of both, of one, and of both together, up to the trained search's reference point."""
    reference = np.array(trained.reference_point)
    tables = [np.array([one.objectives for one in front.as_searched.points]) for front in (free, trained)]
    alone, with_training, both = (hypervolume(one, reference=reference) for one in (*tables, np.concatenate(tables)))
    return (
        f"hypervolume up to one reference: free {alone:.4g}, with training {with_training:.4g}, both together {both:.4g}; "
        f"training adds {both / alone - 1:.1%} to the free search, which adds {both / with_training - 1:.1%} to the other"
    )


def draw(free: Front, trained: Front | None, box: Box) -> None:
    """Both fronts, as searched."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), dpi=140, layout="constrained")
    for front, name, color in ((free, "without training", "#8a949c"), (trained, "with training", "#0b6e99")):
        if front is None:
            continue
        every, best = front.as_searched.points, front.as_searched.best
        axes.scatter([one.latency_ms for one in every], [one.quality for one in every], s=10, color=color, alpha=0.35)
        axes.plot(
            [one.latency_ms for one in best], [one.quality for one in best], "o-", color=color, label=name, markersize=5
        )
    axes.set_xlabel("latency, ms per image")
    axes.set_ylabel(f"{free.objectives[0].name}, lower is better")
    axes.set_yscale("log")
    axes.set_title("Fronts as searched" + (" (TOY SIZES, measures nothing)" if box.is_toy else ""), fontsize=10)
    axes.grid(which="both", color="#e4e7ea", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(box.out / "free.png")
    plt.close(figure)

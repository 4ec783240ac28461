"""`flexsearch plan`: checks a search space and says what it holds, from shapes alone."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from flexsearch.cli.options import AsJson, Overrides, Space, print_json
from flexsearch.cli.profile import plateau_text, summary_of
from flexsearch.cli.terminal import open_terminal
from flexsearch.measurement import counted, rounded

if TYPE_CHECKING:  # `--help` waits for none of them
    from rich.console import Console

    from flexsearch.config import RunConfig
    from flexsearch.latency.profile import LatencyProfile
    from flexsearch.schedule.plan import Plan
    from flexsearch.space.search_space import SearchSpace

command = typer.Typer()


@command.command(epilog="Example: flexsearch plan dit_xl --json")
def plan(space: Space, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Check a search space, and say what it holds and costs. Needs no weights and no GPU."""
    from flexsearch.config import load_config

    found = plan_of(load_config(space, overrides or ()))
    if as_json:
        print_json(found)
    else:
        print_plan(found)


def plan_of(config: "RunConfig") -> dict[str, Any]:
    """Count what a search space holds; the contract of `plan --json`."""
    from flexsearch.study.baselines import baselines_of
    from flexsearch.trial.profiles import load_profile

    space = config.search_space
    profile = load_profile(config.trial_settings)
    baselines = []
    for one in baselines_of(space, config.search):
        plan, schedule, sampling = space.plan(one.candidate), one.candidate.schedule, one.candidate.sampling
        baselines.append(
            {
                "name": one.name,
                "steps": sampling.steps,
                "macs": plan.macs,
                "macs_ratio": plan.macs / _dense(space, steps=sampling.steps).macs,
                "params": plan.params,
                "digest": schedule.digest,
                "schedule": str(schedule),
                "sampling": str(sampling),
                **_latency(plan, profile),
            }
        )
    dense = _dense(space, steps=max(space.steps))
    return {
        "name": config.name,
        "backbone": config.base.backbone,
        "dense": {
            "macs": dense.macs,
            "steps": len(dense.steps),
            "params": dense.params,
            "tokens": space.grid.num_tokens,
        },
        "space": {
            "parameters": [{"name": name, **asdict(domain)} for name, domain in space.domains.items()],
            "size": space.size,
        },
        "macs_ratio_range": list(_macs_ratio_range(space)),
        "baselines": baselines,
        **({} if profile is None else {"profile": summary_of(profile)}),
    }


def _dense(space: "SearchSpace", *, steps: int) -> "Plan":
    """Lower the dense base, sampled as it is published: nothing reused, all rows of guidance."""
    from flexsearch.schedule.candidate import Candidate
    from flexsearch.schedule.density import DensitySchedule
    from flexsearch.schedule.sampling import Sampling

    return space.plan(Candidate(schedule=DensitySchedule.all_dense(space.num_blocks), sampling=Sampling(steps=steps)))


def _latency(plan: "Plan", profile: "LatencyProfile | None") -> dict[str, Any]:
    """Predict latency, in ms per image, and its error; nothing without a profile that covers the plan."""
    if profile is None or not profile.covers(plan):
        return {}
    ms = profile.predict(plan)
    return {"latency_ms": {"value": ms, "error": ms * profile.error, "is_predicted": True}}


def _macs_ratio_range(space: "SearchSpace") -> tuple[float, float]:
    """Give the least and the largest MACs of a candidate, divided by those of the dense base at the same steps."""
    from flexsearch.space.extremes import extremes

    dense = {steps: _dense(space, steps=steps).macs for steps in space.steps}
    return extremes(space, lambda one: space.plan(one).macs / dense[one.sampling.steps])


def print_plan(found: dict[str, Any]) -> None:
    """Print the plan as tables."""
    from flexsearch.report.fitted_table import Column, FittedTable
    from flexsearch.schedule.role import legend
    from flexsearch.schedule.run_lengths import run_lengths

    console = open_terminal()
    dense, space = found["dense"], found["space"]
    size = "infinite" if space["size"] is None else f"{space['size']:,}"
    low, high = found["macs_ratio_range"]
    console.print(
        f"{found['name']} ({found['backbone']}): {size} choices of {len(space['parameters'])} parameters",
        style="bold",
    )
    console.print(
        f"dense: {counted(dense['macs'])} per image at {dense['steps']} steps, {dense['params']:,} parameters, "
        f"{dense['tokens']} tokens"
    )
    console.print(f"the space spans {low:.0%} to {high:.0%} of the dense MACs at the same steps")
    parameters = FittedTable([Column(heading="parameter", is_text=True), Column(heading="values", is_text=True)])
    for row in space["parameters"]:
        values = row.get("values") or f"{row['low']} to {row['high']}"
        parameters.add_row(row["name"], ", ".join(map(str, values)) if isinstance(values, list | tuple) else values)
    table = FittedTable(
        [
            Column(heading="baseline", is_text=True),
            Column(heading="steps", leaves=1),
            Column(heading="MACs\nper image"),
            Column(heading="of dense"),
            Column(heading="parameters", leaves=2),
        ]
    )
    for row in found["baselines"]:
        beside_steps = row["sampling"].removeprefix(f"x{row['steps']}")
        table.add_row(
            f"{row['name']}\n{run_lengths(row['schedule'] + beside_steps)}",
            str(row["steps"]),
            counted(row["macs"]),
            f"{row['macs_ratio']:.1%}",
            f"{row['params'] / 1e6:.2f} M",
        )
    for one in (parameters, table):
        console.print()
        console.print(one, soft_wrap=True)
    console.print()
    letters = ", ".join(legend(row["schedule"] for row in found["baselines"]))
    console.print(
        "MACs: matrix products and convolutions of one image, all sampler steps and rows of guidance; of dense: at the "
        f"same steps. {letters}; @ sparse grids from data to noise.",
        highlight=False,
    )
    if "profile" in found:
        _print_latency(found, console)


def _print_latency(found: dict[str, Any], console: "Console") -> None:
    """Print the latencies that the profile of this device predicts."""
    from flexsearch.report.fitted_table import Column, FittedTable

    profile = found["profile"]
    headings = (Column(heading="baseline", is_text=True), Column(heading="steps"))
    table = FittedTable([*headings, Column(heading="ms/image\n(predicted)")])
    for row in found["baselines"]:
        if "latency_ms" in row:
            latency = row["latency_ms"]
            table.add_row(row["name"], str(row["steps"]), f"{latency['value']:.3g} ±{rounded(latency['error'], 1)}")
    console.print()
    console.print(table, soft_wrap=True)
    console.print()
    from flexsearch.latency.profile import accuracy

    said = accuracy(profile["error"], profile["kendall_tau"], profile["num_held_out"])
    console.print(f"The profile of {profile['device']} {said}.", highlight=False)
    for run in profile["plateaus"]:
        console.print(plateau_text(run), highlight=False)

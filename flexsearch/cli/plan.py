"""`flexsearch plan`: what a search space holds, from shapes alone."""

import re
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from flexsearch.cli.profile import accuracy, plateau_text, summary_of
from flexsearch.config import RunConfig
from flexsearch.objectives.composed_latency import LatencyProfile
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.macs import authors_operation_macs, plan_macs, plan_params
from flexsearch.space.search_space import SearchSpace
from flexsearch.study.baselines import baselines_of
from flexsearch.trial.profile import load_profile

_ENUMERATE_UP_TO = 20_000
_LEGEND = (
    "MACs of one forward pass of one sample. The paper's code pools through an N x N matrix and merges after "
    "upsampling: more work for the same numbers. P pool, M merge, s sparse, R recover, D dense; @ sparse grids from "
    "data to noise."
)


def plan_of(config: RunConfig) -> dict[str, Any]:
    """The contract of `plan --json`."""
    shape, space = config.shape, config.search_space
    dense = space.plan(DensitySchedule.all_dense(shape.num_blocks))
    dense_macs = plan_macs(dense, shape)
    profile = load_profile(config.trial_settings)
    baselines = []
    for one in baselines_of(space, config.search, shape):
        schedule = one.candidate.schedule
        plan = space.plan(schedule)
        macs = plan_macs(plan, shape)
        baselines.append(
            {
                "name": one.name,
                "macs": macs,
                "macs_ratio": macs / dense_macs,
                "params": plan_params(plan, shape),
                "digest": schedule.digest,
                "schedule": str(schedule),
                "macs_in_authors_code": plan_macs(plan, shape, count=authors_operation_macs),
                **_latency(one.candidate, profile),
            }
        )
    low, high = _macs_range(space, config)
    return {
        "name": config.name,
        "backbone": config.base.backbone,
        "dense": {"macs": dense_macs, "params": plan_params(dense, shape), "tokens": shape.grid.num_tokens},
        "space": {
            "parameters": [{"name": name, **asdict(domain)} for name, domain in space.domains.items()],
            "size": space.size,
        },
        "macs_ratio_range": [low / dense_macs, high / dense_macs],
        "baselines": baselines,
        **({} if profile is None else {"profile": summary_of(profile)}),
    }


def _latency(candidate: Candidate, profile: LatencyProfile | None) -> dict[str, Any]:
    """Predicted latency, in ms per image, and its error; nothing without a profile that covers the candidate."""
    if profile is None or not profile.covers(candidate):
        return {}
    ms = profile.predict(candidate)
    return {
        "sampler_steps": candidate.sampling.steps,
        "latency_ms": {"value": ms, "error": ms * profile.error, "is_predicted": True},
    }


def _macs_range(space: SearchSpace, config: RunConfig) -> tuple[float, float]:
    """Least and most MACs of a forward pass over the space; from 20,000 draws where it is larger than that."""
    found = space.candidates(up_to=_ENUMERATE_UP_TO)
    schedules = {candidate.schedule.digest: candidate.schedule for candidate in found}
    macs = [plan_macs(space.plan(schedule), config.shape) for schedule in schedules.values()]
    return min(macs), max(macs)


def print_plan(found: dict[str, Any]) -> None:
    """The plan as a person reads it."""
    console = Console()
    dense, space = found["dense"], found["space"]
    size = "infinite" if space["size"] is None else f"{space['size']:,}"
    low, high = found["macs_ratio_range"]
    console.print(
        f"[bold]{found['name']}[/] ({found['backbone']}): {size} choices of {len(space['parameters'])} parameters"
    )
    console.print(f"dense: {_macs(dense['macs'])}, {dense['params']:,} parameters, {dense['tokens']} tokens")
    console.print(f"the space spans {low:.0%} to {high:.0%} of the dense MACs (per forward pass, averaged over time)")
    parameters = Table(box=SIMPLE_HEAD, header_style="bold", show_edge=False)
    for column in ("parameter", "values"):
        parameters.add_column(column)
    for row in space["parameters"]:
        values = row.get("values") or f"{row['low']} to {row['high']}"
        parameters.add_row(row["name"], ", ".join(map(str, values)) if isinstance(values, list | tuple) else values)
    table = Table(box=SIMPLE_HEAD, header_style="bold", show_edge=False)
    for column in ("baseline", "MACs", "of dense", "as the\npaper counts", "parameters"):
        table.add_column(column, justify="left" if column == "baseline" else "right", no_wrap=True)
    unique = {row["digest"]: row for row in reversed(found["baselines"])}  # sampler steps do not change a forward pass
    for row in reversed(unique.values()):
        table.add_row(
            f"{row['name']}\n{_folded(row['schedule'])}",
            _macs(row["macs"]),
            f"{row['macs_ratio']:.1%}",
            _macs(row["macs_in_authors_code"]),
            f"{row['params'] / 1e6:.2f} M",
        )
    for one in (parameters, table):
        console.print(one)
        console.print()
    console.print(_LEGEND, highlight=False)
    if "profile" in found:
        _print_latency(found, console)


def _print_latency(found: dict[str, Any], console: Console) -> None:
    """What the profile of this device predicts."""
    profile = found["profile"]
    table = Table(box=SIMPLE_HEAD, header_style="bold", show_edge=False)
    for column in ("baseline", "steps", "ms/image\n(predicted)"):
        table.add_column(column, justify="left" if column == "baseline" else "right", no_wrap=True)
    for row in found["baselines"]:
        if "latency_ms" in row:
            latency = row["latency_ms"]
            table.add_row(row["name"], str(row["sampler_steps"]), f"{latency['value']:.3g} ±{latency['error']:.1g}")
    console.print()
    console.print(table)
    console.print()
    said = accuracy(profile["error"], profile["kendall_tau"], profile["num_held_out"])
    console.print(f"The profile of {profile['device']} {said}.", highlight=False)
    for run in profile["plateaus"]:
        console.print(plateau_text(run), highlight=False)


def _folded(schedule: str) -> str:
    """A long schedule with its repeats counted: PP(MsssRD)x4DD @10,8,7,6."""
    return re.sub(r"([A-Za-z]{1,12}?)\1{2,}", lambda run: f"({run[1]})x{len(run[0]) // len(run[1])}", schedule)


def _macs(macs: float) -> str:
    if macs >= 1e13:
        return f"{macs / 1e12:.2f} T"
    return f"{macs / 1e9:.2f} G" if macs >= 1e9 else f"{macs / 1e6:.1f} M"

"""`flexsearch profile`: times operations, says how well their sum predicts whole generations, and keeps both."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console as Terminal
from rich.table import Table

from flexsearch.config import RunConfig
from flexsearch.errors import UserError
from flexsearch.objectives.composed_latency import LatencyProfile
from flexsearch.schedule.shape import TokenGrid
from flexsearch.study.baselines import baselines_of
from flexsearch.trial.profile import save_profile

_LEGEND = "ms per image and forward pass. A step is what a sampler step takes beside its blocks."


def profile_space(config: RunConfig, *, rounds: int) -> dict[str, Any]:
    """Makes the profile of a space on this device, in place of an older one; the contract of `profile --json`.

    Raises:
        UserError: `rounds` is below 1, or the base is not on this machine and its sizes are not known.
    """
    if rounds < 1:
        raise UserError(f"must be at least 1, but got {rounds}", field="--rounds", nearest=1)
    from flexsearch.trial.profiling import make_profile

    terminal = Terminal(stderr=True)

    def report(what: str, done: int, total: int) -> None:
        terminal.print(f"{what}: round {done} of {total}", highlight=False)

    settings = config.trial_settings
    baselines = baselines_of(config.search_space, config.search, config.shape)
    profile = make_profile(settings, others=[one.candidate for one in baselines], rounds=rounds, report=report)
    path = save_profile(profile, settings)
    return {
        "name": config.name,
        **profile.to_dict(),
        "plateaus": _plateaus(profile),
        "file": str(path),
    }


def print_profile(found: dict[str, Any]) -> None:
    """The profile as a person reads it."""
    console, protocol = Terminal(), found["protocol"]
    table = Table(box=SIMPLE_HEAD, header_style="bold", show_edge=False)
    for column in ("operation", "tokens in", "out", "ms", "of dense"):
        table.add_column(column, justify="left" if column == "operation" else "right")
    dense = next(one["ms"] for one in found["operations"] if one["kind"] == "dense")
    for one in found["operations"]:
        keys, queries = TokenGrid(**one["keys"]), TokenGrid(**one["queries"])
        table.add_row(one["kind"], str(keys), str(queries), f"{one['ms']:.3g}", f"{one['ms'] / dense:.0%}")
    table.add_row("step", "", "", f"{found['step_ms']:.3g}", f"{found['step_ms'] / dense:.0%}")
    console.print(table)
    console.print()
    console.print(_LEGEND, highlight=False)
    console.print(
        f"{protocol['device']}, batch {protocol['batch']}, {protocol['dtype']}, guidance {protocol['guidance']:g}, "
        f"torch {protocol['torch']}, {protocol['sampler']}",
        highlight=False,
    )
    console.print(accuracy(found["error"], found["kendall_tau"], len(found["held_out"])), highlight=False)
    for run in found["plateaus"]:
        console.print(plateau_text(run), highlight=False)
    console.print(f"kept in {found['file']}", highlight=False, soft_wrap=True)


def accuracy(error: float, kendall_tau: float | None, num: int) -> str:
    """How well the profile predicts."""
    tau = "" if kendall_tau is None else f", Kendall tau {kendall_tau:.2f}"
    return f"predicts {num} schedules outside the fit with a median error of {error:.1%}{tau}"


def plateau_text(plateau: Mapping[str, Any]) -> str:
    """That some sparse grids are equally fast."""
    *others, largest = plateau["grids"]
    return (
        f"sparse grids {', '.join(others)} and {largest}: the same latency within {plateau['within']:.1%}; {largest} "
        "keeps most tokens"
    )


def _plateaus(profile: LatencyProfile) -> list[dict[str, Any]]:
    return [{"grids": [str(grid) for grid in one.grids], "within": one.within} for one in profile.plateaus()]


def summary_of(profile: LatencyProfile) -> dict[str, Any]:
    """What `plan` says of a profile, beside the latency of its rows."""
    return {
        "device": profile.protocol["device"],
        "error": profile.error,
        "kendall_tau": profile.kendall_tau,
        "num_held_out": len(profile.held_out),
        "plateaus": _plateaus(profile),
    }

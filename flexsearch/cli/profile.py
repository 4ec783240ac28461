"""`flexsearch profile`: times operations, says how well their sum predicts whole images, and keeps both."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flexsearch.cli.options import AsJson, Overrides, Space, print_json
from flexsearch.cli.terminal import open_terminal
from flexsearch.errors import UserError
from flexsearch.processors import make_way

if TYPE_CHECKING:  # `--help` waits for none of them
    from flexsearch.latency.profile import LatencyProfile

_LEGEND = (
    "ms per image and forward pass, on all rows of guidance unless it says otherwise. A step is what a sampler step "
    "takes beside its blocks; of a solver, what its step takes more."
)

command = typer.Typer()


@command.command(epilog="Example: flexsearch profile quickstart")
def profile(
    space: Space,
    rounds: Annotated[int, typer.Option(help="repetitions of everything; more are more precise")] = 9,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Time the operations of a space, so that latency is predicted. It is kept for `plan` and `run` on this device."""
    make_way()
    if rounds < 1:
        raise UserError(f"must be at least 1, but got {rounds}", field="--rounds", nearest=1)

    from flexsearch.config import load_config
    from flexsearch.latency.profile import LEAST_TAU, WORST_ERROR
    from flexsearch.study.baselines import baselines_of
    from flexsearch.trial.profiles import make_profile, save_profile
    from flexsearch.trial.timing import disturbance

    terminal = open_terminal(stderr=True)

    def report(what: str, done: int, total: int) -> None:
        terminal.print(f"{what}: round {done} of {total}", highlight=False)

    config = load_config(space, overrides or ())
    settings = config.trial_settings
    if (disturbed := disturbance(settings)) is not None:
        terminal.print(f"note: {disturbed}", highlight=False)
    baselines = baselines_of(config.search_space, config.search)
    made = make_profile(settings, others=[one.candidate for one in baselines], rounds=rounds, report=report)
    if not made.is_sound:
        raise UserError(
            f"the profile is not kept: it {made.accuracy}, but must have at most {WORST_ERROR:.0%} and at least "
            f"{LEAST_TAU:g}; is something else running? More rounds help too",
            field=f"--rounds {rounds}",
            nearest=2 * rounds,
        )
    path = save_profile(made, settings)
    found = {"name": config.name, **made.to_dict(), "plateaus": _plateaus(made), "file": str(path)}
    if as_json:
        print_json(found)
    else:
        print_profile(found)


def print_profile(found: dict[str, Any]) -> None:
    """Print the profile as a table, with its protocol and its error."""
    from flexsearch.latency.profile import LatencyProfile
    from flexsearch.report.fitted_table import Column, FittedTable
    from flexsearch.schedule.families.dense import DENSE

    console, protocol, profile = open_terminal(), found["protocol"], LatencyProfile.from_dict(found)
    headings = ("tokens in", "out", "ms", "of dense")
    table = FittedTable([Column(heading="operation", is_text=True), *(Column(heading=one) for one in headings)])
    dense = next(one.ms for one in profile.operations if one.role == DENSE.name)
    for one in profile.operations:
        table.add_row(one.role, str(one.keys), str(one.queries), f"{one.ms:.3g}", f"{one.ms / dense:.0%}")
    table.add_row("step", "", "", f"{profile.step_ms:.3g}", f"{profile.step_ms / dense:.0%}")
    for other in profile.others:
        term, ms = other.term, other.ms
        _, queries, keys, _ = term.operation or (None, "", "", None)
        table.add_row(term.name, str(keys), str(queries), f"{ms:.3g}", f"{ms / dense:.0%}")
    console.print(table, soft_wrap=True)
    console.print()
    console.print(_LEGEND, highlight=False)
    console.print(
        f"{protocol['device']}, batch {protocol['batch']}, {protocol['dtype']}, guidance {protocol['guidance']:g}, "
        f"torch {protocol['torch']}",
        highlight=False,
    )
    console.print(profile.accuracy, highlight=False)
    for run in found["plateaus"]:
        console.print(plateau_text(run), highlight=False)
    console.print(f"kept in {found['file']}", highlight=False, soft_wrap=True)


def plateau_text(plateau: Mapping[str, Any]) -> str:
    """Say that some sparse grids are equally fast."""
    *others, largest = plateau["grids"]
    return (
        f"sparse grids {', '.join(others)} and {largest}: the same latency within {plateau['within']:.1%}; {largest} "
        "keeps most tokens"
    )


def _plateaus(profile: "LatencyProfile") -> list[dict[str, Any]]:
    return [{"grids": [str(grid) for grid in one.grids], "within": one.within} for one in profile.plateaus()]


def summary_of(profile: "LatencyProfile") -> dict[str, Any]:
    """Summarise a profile for `plan`, beside the latency of its rows."""
    return {
        "device": profile.protocol["device"],
        "error": profile.error,
        "kendall_tau": profile.kendall_tau,
        "num_held_out": len(profile.held_out),
        "plateaus": _plateaus(profile),
    }

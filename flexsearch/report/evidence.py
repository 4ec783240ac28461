"""Say what a page must tell of how its numbers came to be: setting, space, costs, protocols, versions."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import yaml

from flexsearch import __version__
from flexsearch.report.front import Front
from flexsearch.report.run import Run

_SMALL_COST = 0.005  # of the whole
_LIBRARIES = ("torch", "diffusers", "optuna", "torch-fidelity")


def config(path: Path) -> str:
    """Read the configuration, but not where the study is kept: what earlier versions wrote has a password in it."""
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    values.pop("storage", None)
    return yaml.safe_dump(values, sort_keys=False)


def space(run: Run) -> dict[str, Any]:
    """List the parameters of the space with their values, and how many combinations there are."""
    found = run.settings.search_space
    parameters = [(name, _domain_text(asdict(domain))) for name, domain in found.domains.items()]
    return {"parameters": parameters, "size": found.size}


def _domain_text(domain: Mapping[str, Any]) -> str:
    if "values" in domain:
        return "one of " + ", ".join(str(value) for value in domain["values"])
    step = "" if domain.get("step", 1) == 1 else f" in steps of {domain['step']}"
    return f"{domain['low']} to {domain['high']}{step}"


def setting(run: Run) -> list[tuple[str, str]]:
    """Say in words what the search was run on."""
    settings, shape = run.settings, run.settings.shape
    stopping, warm = settings.early_stopping, settings.warm_start
    return [
        (
            "base",
            f"{settings.base.checkpoint} ({settings.base.backbone}), {shape.num_blocks} blocks of width "
            f"{shape.width} on {shape.grid} tokens",
        ),
        ("data", settings.data.name),
        ("warm start", "none: trials start from the base" if warm is None else f"{warm.updates} updates, shared"),
        ("each trial", f"{settings.trial.updates} updates of {settings.trial.batch} samples"),
        (
            "early stopping",
            "none"
            if stopping is None
            else f"at {', '.join(f'{rung:.0%}' for rung in stopping.rungs)} of the updates, {stopping.keep:.0%} go on",
        ),
        ("algorithm", f"{run.search.algorithm}, seed {run.search.seed}"),
        ("acquisition", "none" if run.search.pool_size == 1 else f"the best of {run.search.pool_size} candidates"),
    ]


def costs(front: Front) -> list[tuple[str, float, float]]:
    """List what was spent on what: minutes, and the share of the largest; what is below `_SMALL_COST` is one line."""
    total = sum(cost.seconds for cost in front.costs)
    spent = {cost.what: cost.seconds for cost in front.costs if cost.seconds >= _SMALL_COST * total}
    ordered = sorted(spent.items(), key=lambda one: -one[1])
    if (rest := total - sum(spent.values())) > 0:
        ordered.append(("all else", rest))
    largest = max((seconds for _, seconds in ordered), default=1.0)
    return [(what, seconds / 60, seconds / largest) for what, seconds in ordered]


def protocols(front: Front) -> list[tuple[str, Sequence[tuple[str, Any]]]]:
    """Say how every number was measured."""
    first = next(iter(front.complete.values()))
    found: list[tuple[str, Sequence[tuple[str, Any]]]] = [
        (f"{name} ({measured.unit})" if measured.unit != "1" else name, sorted(measured.protocol.items()))
        for name, measured in first.measurements.items()
    ]
    if front.confirmation is not None:
        for name, protocol in front.confirmation.protocols.items():
            seeds = ("seeds", ", ".join(map(str, front.confirmation.seeds)))
            found.append((f"{name}, measured again", sorted([*protocol.items(), seeds])))
    return found


def versions(run: Run) -> list[tuple[str, str]]:
    """List the versions of what made this page, and of what began the search."""
    return [
        ("flexsearch, when the search began", run.store.version() or "unknown"),
        ("flexsearch, of this page", __version__),
        ("python", platform.python_version()),
        *((library, installed(library)) for library in _LIBRARIES),
    ]

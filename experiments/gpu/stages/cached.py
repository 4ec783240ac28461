"""How fast a step that reuses blocks is beside a dense one, on FLUX.1-dev and Wan2.1-1.3B. Random weights, one image or
video at a time, at its publishers' guidance.

Of the patterns that are timed every second step is full; the rest reuse the residual of all blocks but the first
(`cached span`), or what every attention and MLP gave (`cached modules`). What is said is of two steps together, and of
the reusing step alone. Compiled variants come last, as far as the box goes.
"""

import gc
from collections.abc import Sequence
from typing import Any

import torch

from stages.blocks import DENSE, Bench, Variant, ceilings, measure
from stages.box import Box, Entry, markdown_table
from stages.models import LARGE, small

NAMES = (DENSE, "cached span", "cached modules")
REUSING = ", a reusing step"
LEAVE_S = 3.0
_SHOWN = ("model", "mode", "variant", "ms", "speedup", "spread", "allowed", "of_allowed", "of_matrix_rate")


def variants_of(bench: Bench) -> list[Variant]:
    """Dense, every pattern, its reusing step alone, and diffusers' model."""
    every = {one.name: one for one in bench.variants}
    found = [every[DENSE]]
    for name in NAMES[1:]:
        parts = {graph: 1.0 for graph in every[name].parts if graph.reuses is not None}
        macs = 2 * every[name].macs - every[DENSE].macs
        found += [every[name], Variant(name=name + REUSING, parts=parts, macs=macs)]
    return [*found, every["diffusers"]]


def run(box: Box) -> Entry:
    """Time the models in turn, eager; then compiled, where the box has time for it. One is on the device at a time."""
    device, dtype = torch.device(box.device), {"bf16": torch.bfloat16, "fp32": torch.float32}[box.options["dtype"]]
    rates, rows = ceilings(device, dtype), list[dict[str, Any]]()
    turns = [(mode, name) for mode in ("eager", "compiled") if mode in box.options["modes"] for name in LARGE]
    with box.until(left=LEAVE_S):
        for index, (mode, name) in enumerate(turns):
            subject = small(LARGE[name]) if box.is_toy else LARGE[name]
            share_s = 0.0 if box.is_toy else 0.3 * box.left / (len(turns) - index)
            bench = Bench(subject, subject.base(device=device, dtype=dtype), batch=1, names=NAMES)
            variants = variants_of(bench)
            if mode == "compiled":
                bench.model.compile_stages(**bench.options)
                variants.pop()  # diffusers' own, which takes as long to compile as ours
            rows += measure(bench, variants, mode=mode, share_s=share_s, rates=rates)
            del bench
            gc.collect()
            torch.cuda.empty_cache()
    said = _said(rows)
    shown = [{name: row[name] for name in _SHOWN} for row in rows]
    return Entry(
        lines=said, log="\n\n".join(["\n".join(f"- {one}" for one in said), markdown_table(shown)]) if rows else ""
    )


def _said(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line for every pattern that was timed, and how we compare with diffusers."""
    lines = []
    for row in rows:
        if row["variant"].startswith("cached"):
            lines.append(
                f"{row['model']}, {row['mode']}, {row['variant']}: {row['speedup']:.2f}x a dense step, MACs allow "
                f"{row['allowed']:.2f}x"
            )
        elif row["variant"] == "diffusers":
            lines.append(f"{row['model']}, {row['mode']}: diffusers' own is {row['speedup']:.2f}x our dense step")
    return lines or ["nothing was timed"]

"""Whether attention to some blocks of keys is faster than all of it, and how much of attention's mass it keeps.

    OMP_NUM_THREADS=1 uv run python experiments/families/blocksparse.py      # about 10 minutes of one CPU core

Three measurements, of which no ratio is between runs; each writes a CSV file beside this one.

- times: one call of attention (2 heads of 128 channels, fp32, one thread, random numbers), choice of the blocks
  included, against `scaled_dot_product_attention` timed right before and after it; then a Wan block of the sizes of
  Wan2.1-1.3B at 4,096 tokens. In the process's CPU time, which other programs disturb less than the clock on the wall.
- macs: what is left of the MACs of a model call of published models whose attention is long enough.
- recall: the mass of softmax attention on the blocks that are kept. The only trained weights here are the quickstart's,
  of 64 tokens, so blocks are of 4 tokens, half a row of an image: of what it draws, with noise, all blocks and heads.
"""

import argparse
import csv
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

import flexsearch.models.roles.blocksparse as role
from flexsearch.data.conditions import random_condition
from flexsearch.diffusion.sampling import denoise, initial_noise, plan_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.models import forward_pass
from flexsearch.models.architectures import known_config
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.loading import load_base
from flexsearch.models.roles import ROLE_MODULES
from flexsearch.models.settings import BaseSettings, base_shape
from flexsearch.schedule import Candidate, DensitySchedule, Sampling, Target, TransformerShape, lower
from flexsearch.schedule.families.blocksparse import Blocksparse, num_kept, num_tiles
from flexsearch.schedule.width import EIGHTHS, Kept

HERE = Path(__file__).parent
TOKENS, KEPT, TYPICAL = (4096, 8192), (1, 2, 4), 2
WAN = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
MODELS = (
    ("PixArt-alpha/PixArt-XL-2-1024-MS", "pixart"),
    (WAN, "wan"),
    ("Wan-AI/Wan2.1-T2V-14B-Diffusers", "wan"),
    ("Wan-AI/Wan2.2-TI2V-5B-Diffusers", "wan"),
)
TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)
Row = dict[str, Any]


def write(name: str, rows: Sequence[Row]) -> None:
    with (HERE / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(*row.values(), sep="\t", flush=True)


def seconds(run: Callable[[], Any]) -> float:
    begun = time.process_time()
    run()
    return time.process_time() - begun


def ratios(dense: Callable[[], Any], others: Mapping[str, Callable[[], Any]], *, rounds: int) -> dict[str, Row]:
    """Time each beside the dense one, which is timed right before and after it: median ratio, least and largest."""
    found: dict[str, list[float]] = {name: [] for name in others}
    for run in (dense, *others.values()):
        run()
    before = seconds(dense)
    for _ in range(rounds):
        for name, run in others.items():
            taken, after = seconds(run), seconds(dense)
            found[name].append(2 * taken / (before + after))
            before = after
    return {
        name: {"ratio": f"{statistics.median(all_):.3f}", "least": f"{min(all_):.3f}", "most": f"{max(all_):.3f}"}
        for name, all_ in found.items()
    }


def sparse_of(attend: Callable[..., Tensor], rows: Sequence[Tensor], kept: int) -> Tensor:
    return attend(*rows, role.chosen_blocks(rows[0], rows[1], kept))


def times(rounds: int) -> list[Row]:
    found: list[Row] = []
    for tokens in TOKENS:
        rows = [torch.randn(1, 2, tokens, 128, generator=torch.Generator().manual_seed(one)) for one in range(3)]
        others: dict[str, Callable[[], Any]] = {}
        shares = {}
        for eighths in KEPT:
            kept = num_kept(tokens, eighths)
            shares |= dict.fromkeys((f"gathered {eighths}", f"kernel {eighths}"), kept / num_tiles(tokens))
            others[f"gathered {eighths}"] = partial(sparse_of, role.gathered_attention, rows, kept)
            if eighths == TYPICAL:
                kernel = partial(sparse_of, role.kernel_attention, kept=kept)
                others[f"kernel {eighths}"] = partial(torch.compile(kernel, fullgraph=True, dynamic=False), rows)
        dense = partial(F.scaled_dot_product_attention, *rows)
        for name, row in ratios(dense, others, rounds=rounds).items():
            way, eighths = name.split()
            found.append(
                {
                    "what": "attention",
                    "tokens": tokens,
                    "way": way,
                    "eighths": eighths,
                    **row,
                    "macs": f"{shares[name]:.3f}",
                }
            )
    return found


def block_times(rounds: int) -> list[Row]:
    """A model call of one block of Wan2.1-1.3B's sizes at 4,096 tokens, its text read before."""
    config = {**known_config(WAN), "num_layers": 1, "sample_size": (4, 64, 64)}
    model = FlexDiT(backbone="wan", base_config=config).eval()
    inputs = {
        "hidden_states": torch.randn(1, *model.shape.sample_size),
        "timestep": torch.full((1,), 500.0),
        "text": model.read_text(**random_condition(model.shape, batch=1, generator=torch.Generator())),
    }
    graphs = {eighths: graph_of(model.shape, eighths) for eighths in (EIGHTHS, TYPICAL)}
    runs = {f"{eighths}": partial(model, **inputs, graph=graph) for eighths, graph in graphs.items()}
    dense = runs.pop(f"{EIGHTHS}")
    whole = graphs[EIGHTHS].macs(model.shape)
    return [
        {
            "what": "wan block",
            "tokens": 4096,
            "way": "gathered",
            "eighths": eighths,
            **row,
            "macs": f"{graphs[int(eighths)].macs(model.shape) / whole:.3f}",
        }
        for eighths, row in ratios(dense, runs, rounds=rounds).items()
    ]


def graph_of(shape: TransformerShape, eighths: int) -> Any:
    """A model call whose blocks all keep so many eighths."""
    segments = (Blocksparse(depth=shape.num_blocks, blocks=Kept(clean=eighths)),)
    candidate = Candidate(schedule=DensitySchedule(segments=segments), sampling=Sampling(steps=1))
    (graph,) = lower(candidate, Target(shape=shape)).graphs
    return graph


def macs() -> list[Row]:
    found = []
    for checkpoint, backbone in MODELS:
        shape = base_shape(BaseSettings(checkpoint=checkpoint, backbone=backbone))
        whole = graph_of(shape, EIGHTHS).macs(shape)
        shares = {f"{one}/8": f"{graph_of(shape, one).macs(shape) / whole:.3f}" for one in KEPT}
        found.append({"checkpoint": checkpoint, "tokens": shape.grid.num_tokens, **shares})
    return found


def recall(num: int) -> list[Row]:
    """Means over images, blocks and heads, by diffusion time."""
    base = load_base(BaseSettings(checkpoint="embedded:quickstart"))
    model, role.TILE = base.model.eval(), 4
    labels = torch.arange(num) % model.shape.num_classes
    plan = plan_of(model, base.scheduler, Sampling(steps=20, solver="ab2"), SamplingSettings())
    noise = initial_noise(range(num), shape=model.shape.sample_size, seed=0)
    given = {"class_labels": labels}
    images = denoise(model, base.scheduler, plan, noise=noise, condition=given, none=given, settings=SamplingSettings())
    generator, found = torch.Generator().manual_seed(1), []
    for at in TIMES:
        noisy = (1 - at) * images + at * torch.randn(images.shape, generator=generator)
        kept: dict[tuple[str, int], list[float]] = {}

        def read(query: Tensor, key: Tensor, value: Tensor, kept: Any = kept) -> Tensor:
            for way, eighths, mass in masses(query, key):
                kept.setdefault((way, eighths), []).append(mass)
            return F.scaled_dot_product_attention(query, key, value)

        modules = {
            name: replace(one, compute=partial(recorded, one.compute, read)) for name, one in ROLE_MODULES.items()
        }
        with patch.object(forward_pass, "ROLE_MODULES", modules), torch.inference_mode():
            model(noisy, torch.full((num,), 1000 * at), class_labels=labels)
        for (way, eighths), all_ in kept.items():
            found.append(
                {
                    "time": at,
                    "chosen": way,
                    "eighths": eighths,
                    "mass": f"{statistics.mean(all_):.3f}",
                    "least": f"{min(all_):.3f}",
                }
            )
    return found


def recorded(compute: Any, read: Any, tokens: Any, call: Any) -> Any:
    return compute(tokens, call._replace(read=read))


def masses(query: Tensor, key: Tensor) -> list[tuple[str, int, float]]:
    """(how blocks are chosen, eighths, mean mass on them) of one block of a model."""
    weights = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(dim=-1)
    tiles = query.shape[2] // role.TILE
    mass = weights.unflatten(2, (tiles, -1)).unflatten(4, (tiles, -1)).mean(dim=3).sum(dim=4)  # (B, H, t, t)
    found = []
    for eighths in KEPT:
        kept = -(-tiles * eighths // EIGHTHS)
        ways = {
            "means": role.chosen_blocks(query, key, kept),
            "mass": mass.topk(kept, dim=-1).indices,
            "random": torch.rand(mass.shape, generator=torch.Generator().manual_seed(2)).topk(kept, dim=-1).indices,
        }
        found += [(way, eighths, mass.gather(-1, one).sum(dim=-1).mean().item()) for way, one in ways.items()]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("times", "macs", "recall"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if arguments.only in (None, "macs"):
        write("blocksparse_macs.csv", macs())
    if arguments.only in (None, "recall"):
        write("blocksparse_recall.csv", recall(64))
    if arguments.only in (None, "times"):
        with torch.inference_mode():
            found = times(arguments.rounds)
            write("blocksparse_times.csv", found)
            write("blocksparse_times.csv", [*found, *block_times(max(1, arguments.rounds // 2))])


if __name__ == "__main__":
    main()

"""How fast roles, axes and the paper's schedules are, beside what multiply-accumulates allow. Random weights, guided.

Every variant is a candidate, lowered to a plan; what is timed is its distinct graphs, once each, and what it takes is
their sum. All are timed in turn with our own dense model, eager or compiled alike; a speed-up is the median over rounds
of the ratio to it. Compiled variants come one by one, the most worthy first, until the box is spent.
"""

import copy
import math
import statistics
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import diffusers
import torch

from flexsearch.data.conditions import random_condition
from flexsearch.diffusion.sampling import on, target_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.diffusion.solvers import solver_of
from flexsearch.latency.hardware import device_name
from flexsearch.latency.measure import Workload, half_interquartile, interleaved_seconds, seconds_of
from flexsearch.models.backbones.packed import packed, places_of
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule import Cache, Candidate, DensitySchedule, Gain, Sampling
from flexsearch.schedule.cost import read_text_macs
from flexsearch.schedule.families import FAMILIES
from flexsearch.schedule.guidance import GuidanceRows
from flexsearch.schedule.plan import Plan, lower
from flexsearch.schedule.step import Graph
from flexsearch.schedule.timetable import Timetable
from stages.box import Box, Entry, markdown_table, write_csv
from stages.models import SUBJECTS, Subject, small

MATRIX = 8192
STEPS = 4
SOLVERS = ("base", "ab2", "dpmsolver++", "unipc")
LEAVE_S = 8.0
"""For picture, log and the profile of what missed a goal."""

DENSE = "dense"


class Goal(NamedTuple):
    """The least that a column of the table must be, compiled, at the first batch."""

    model: str
    variant: str
    column: str
    least: float


GOALS = (
    Goal("dit_xl_512", DENSE, "of_matrix_rate", 0.5),
    Goal("dit_xl_512", "flexdit_xl_512_r90_96", "of_allowed", 2.1 / 2.36),
    Goal("dit_xl_256", "flexdit_xl_256_r61_86", "of_allowed", 1.65 / 1.82),
    Goal("dit_xl_512", "cached span", "of_allowed", 0.9),
    Goal("dit_xl_512", "cached modules", "of_allowed", 0.9),
)
ALONE = ", its densest stage"
"""Of a schedule with several graphs, each of which takes long to compile, the one that is compiled first."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Something to be timed.

    Attributes:
        parts: how often each workload runs in one sampler step, on average.
        macs: of one image and step, all rows; 0 where no model is called.
    """

    name: str
    parts: Mapping[Hashable, float]
    macs: float


def ceilings(device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """Multiply-accumulates per second of one large matrix product; bytes per second, read and written, of a copy."""
    size = MATRIX if device.type == "cuda" else MATRIX // 8
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    source = torch.randn(size * size * (8 if device.type == "cuda" else 1), device=device)
    copy = torch.empty_like(source)
    matrix, moved = interleaved_seconds([lambda: left @ right, lambda: copy.copy_(source)], repeats=10, device=device)
    return size**3 / statistics.median(matrix), 2 * source.numel() * 4 / statistics.median(moved)


_NOT_READ = ("latte", "encoder_attention_mask")
"""By diffusers' model."""


def _as_diffusers(
    noisy: torch.Tensor, time: torch.Tensor, condition: Mapping[str, torch.Tensor], subject: Subject
) -> dict[str, torch.Tensor]:
    """Give the arguments of diffusers' own forward."""
    if subject.backbone != "flux":
        return {"hidden_states": noisy, "timestep": time, **condition}
    places = places_of(subject.shape.grid, noisy.device)[0]
    text = condition["encoder_hidden_states"]
    return {
        "hidden_states": packed(noisy, 2),
        "timestep": time / 1000,
        "img_ids": places,
        "txt_ids": places.new_zeros(text.shape[1], 3),
        **condition,
    }


class Bench:
    """One model at one batch: its variants and the workloads that they are made of.

    Args:
        subject: the model.
        base: diffusers' own, which is taken apart.
        batch: images together.
        names: of the candidates that are timed beside diffusers' model; None is all, and the solvers.
    """

    def __init__(self, subject: Subject, base: Any, *, batch: int, names: Collection[str] | None = None) -> None:
        self.batch, self.subject, self.device, self._names = batch, subject, base.device, names
        device, dtype = base.device, base.dtype
        self.model: FlexDiT = FlexDiT.from_base(base, backbone=subject.backbone).eval()
        self.scheduler = diffusers.DDIMScheduler()
        settings = SamplingSettings(guidance=subject.guidance, guidance_channels=3)
        self.target = target_of(self.model, self.scheduler, settings)
        self._plans = {
            name: self._plan(schedule, **options)
            for name, schedule, options in self._candidates()
            if names is None or name in names
        }
        operations = (one for plan in self._plans.values() for graph in plan.graphs for one in graph.route)
        self.model.add_weights((one.role, one.block) for one in operations)
        if device.type == "cuda":  # strided rows are slower on a CPU
            self.model.fuse()
        rows, generator = batch * self.target.rows, torch.Generator().manual_seed(0)
        self._noisy = torch.randn(rows, *subject.shape.sample_size, generator=generator).to(device, dtype)
        self._time = torch.full((rows,), 500.0, device=device)
        drawn = on(device, random_condition(subject.shape, batch=rows, generator=generator))
        self._condition = {name: one.to(dtype) if one.is_floating_point() else one for name, one in drawn.items()}
        self._left: dict[Any, tuple[torch.Tensor, ...]] = {}
        read = {name: one for name, one in self._condition.items() if (subject.backbone, name) != _NOT_READ}
        self._base = partial(base, **_as_diffusers(self._noisy, self._time, read, subject))

    def _candidates(self) -> Iterator[tuple[str, DensitySchedule, dict[str, Any]]]:
        blocks, grid = self.subject.shape.num_blocks, self.subject.shape.grid
        dense = DensitySchedule.all_dense(blocks)
        yield DENSE, dense, {}
        yield from ((name, schedule, {}) for name, schedule in self.subject.schedules.items())
        yield "cached span", dense, {"cache": Cache(pattern="FpFp", first=1, order=0)}
        yield "cached modules", dense, {"cache": Cache(pattern="FpFp", first=0, order=0, reuse="modules")}
        yield "one row", dense, {"guidance": GuidanceRows(every=2)}
        yield "gain", dense, {"gain": Gain(stream=0.9, at=4)}
        timetable = Timetable(grids=(max(1, min(grid.height, grid.width) // 2),))
        for family in FAMILIES.values():
            for segments in family.designs(blocks):
                schedule = DensitySchedule(segments=segments, timetable=timetable)
                if schedule != dense:
                    yield f"all {schedule.roles[0]}, {schedule.roles[1]}", schedule, {}

    def _plan(self, schedule: DensitySchedule, **options: Any) -> Plan:
        return lower(Candidate(schedule=schedule, sampling=Sampling(steps=STEPS, **options)), self.target)

    @cached_property
    def variants(self) -> list[Variant]:
        """All that can be timed, the dense model first."""
        found = [self._variant(name, plan.counts) for name, plan in self._plans.items()]
        stages = [
            (name, min(plan.counts, key=lambda one: one.stage))
            for name, plan in self._plans.items()
            if name in self.subject.schedules
        ]
        found += [self._variant(name + ALONE, {graph: STEPS}) for name, graph in stages]
        found.append(Variant(name="diffusers", parts={"diffusers": 1.0}, macs=found[0].macs))
        solvers = SOLVERS if self._names is None else ()
        return found + [Variant(name=f"solver {one}", parts={("solver", one): 1 / STEPS}, macs=0.0) for one in solvers]

    def _variant(self, name: str, counts: Mapping[Graph, int]) -> Variant:
        shape, text = self.subject.shape, read_text_macs(self.subject.shape)  # which every call reads, once per row
        parts = {graph: num / STEPS for graph, num in counts.items() if graph.route}
        macs = sum(share * (graph.macs(shape) + graph.rows * text) for graph, share in parts.items())
        return Variant(name=name, parts=parts, macs=macs)

    def workload(self, key: Hashable, *, is_compiled: bool) -> Workload:
        """What runs, in inference mode."""
        if isinstance(key, Graph):
            return _inference(partial(self._call, key))
        if key == "diffusers":
            base = torch.compile(self._base.func, dynamic=False, **self.options) if is_compiled else self._base.func
            return _inference(partial(base, *self._base.args, **self._base.keywords))
        assert isinstance(key, tuple)
        plan = self._plan(DensitySchedule.all_dense(self.subject.shape.num_blocks), solver=key[1])
        sample = self._noisy[: self.batch].float()

        def steps() -> None:
            solver, at = solver_of(self.scheduler, plan, seed=0, device=self.device), sample
            for index in range(len(plan.steps)):
                solver.timestep(index)
                at = solver.step(solver.scaled(at, index), index, at)

        return _inference(steps)

    def _call(self, graph: Graph) -> object:
        rows = graph.rows * self.batch
        condition = {name: one[:rows] for name, one in self._condition.items()}
        reused: tuple[torch.Tensor, ...] = ()
        if graph.reuses is not None:
            key = (graph.reuses, graph.span)
            if key not in self._left:
                full = next(
                    one for plan in self._plans.values() for one in plan.graphs if (one.leaves, one.span) == key
                )
                left = self.model(self._noisy, self._time, graph=full, **self._condition).left
                self._left[key] = tuple(one.clone() for one in left)
            reused = self._left[key]
        return self.model(self._noisy[:rows], self._time[:rows], graph=graph, reused=reused, **condition).sample

    @property
    def options(self) -> dict[str, Any]:
        """Of torch.compile: CUDA graphs where launches are waited for."""
        if self.device.type == "cpu":
            return {"backend": "eager"}
        return {"mode": "reduce-overhead" if self.batch < 16 else "default"}


def _inference(call: Callable[[], object]) -> Workload:
    def run() -> object:
        with torch.inference_mode():
            return call()

    return run


def measure(
    bench: Bench, variants: list[Variant], *, mode: str, share_s: float, rates: tuple[float, float]
) -> list[dict[str, Any]]:
    """Time variants in turn, the dense one first among them; a row each."""
    device = bench.device
    keys = list(dict.fromkeys(key for one in variants for key in one.parts))
    workloads = [bench.workload(key, is_compiled=mode == "compiled") for key in keys]
    first_s = sum(seconds_of(one, device) for one in workloads)  # compiles
    once_s = sum(seconds_of(one, device) for one in workloads)
    rounds = min(max(int(share_s / once_s), 3), 20)
    every = [[seconds_of(one, device) for one in workloads] for _ in range(rounds)]
    times = dict(zip(keys, zip(*every, strict=True), strict=True))
    dense = variants[0]
    totals = {
        one.name: [sum(share * times[key][index] for key, share in one.parts.items()) for index in range(rounds)]
        for one in variants
    }
    rows = []
    for one in variants:
        seconds = statistics.median(totals[one.name])
        ratios = [base / own for base, own in zip(totals[dense.name], totals[one.name], strict=True)]
        speedup, allowed = statistics.median(ratios), dense.macs / one.macs if one.macs else math.inf
        macs = one.macs * bench.batch
        rows.append(
            {
                "model": bench.subject.name,
                "batch": bench.batch,
                "mode": mode,
                "variant": one.name,
                "ms": 1000 * seconds,
                "floor_ms": 1000 * macs / rates[0],
                "gmacs": one.macs / 1e9,
                "speedup": speedup,
                "spread": half_interquartile(ratios),
                "allowed": allowed,
                "of_allowed": speedup / allowed,
                "of_matrix_rate": macs / seconds / rates[0],
                "rounds": rounds,
                "first_s": first_s,
            }
        )
    return rows


def top_kernels(bench: Bench, variant: Variant, *, mode: str) -> list[str]:
    """The kernels that take most of one step of a variant, with their share of it."""
    is_cuda = bench.device.type == "cuda"
    activity = torch.profiler.ProfilerActivity.CUDA if is_cuda else torch.profiler.ProfilerActivity.CPU
    workloads = [bench.workload(key, is_compiled=mode == "compiled") for key in variant.parts]
    with torch.profiler.profile(activities=[activity]) as profiler:
        for workload in workloads:
            workload()
    times = {
        event.key: event.self_device_time_total if is_cuda else event.self_cpu_time_total
        for event in profiler.key_averages()
    }
    total = sum(times.values()) or 1.0
    return [f"{share / total:.0%} {name[:90]}" for name, share in sorted(times.items(), key=lambda one: -one[1])[:8]]


def run(box: Box) -> Entry:
    """Time everything that the box has time for."""
    device, dtype = torch.device(box.device), {"bf16": torch.bfloat16, "fp32": torch.float32}[box.options["dtype"]]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch._dynamo.config.recompile_limit = 256
    rates = ceilings(device, dtype)
    batches = [2] if box.is_toy else box.options["batch"]
    said = [
        f"ceilings: {2 * rates[0] / 1e12:.4g} TFLOP/s of a matrix product ({box.options['dtype']}), "
        f"{rates[1] / 1e9:.4g} GB/s of a copy; {device_name(device)}, torch {torch.__version__}"
    ]
    rows: list[dict[str, Any]] = []
    benches: dict[tuple[str, int], Bench] = {}
    kernels: dict[str, list[str]] = {}

    def timed(bench: Bench, variants: list[Variant], mode: str, share_s: float) -> None:
        known = {(row["model"], row["batch"], row["mode"], row["variant"]) for row in rows}
        found = measure(bench, variants, mode=mode, share_s=share_s, rates=rates)
        rows.extend(row for row in found if (row["model"], row["batch"], row["mode"], row["variant"]) not in known)
        write_csv(box.out / "blocks.csv", rows)

    with box.until(left=LEAVE_S):
        for name in box.options["models"]:
            subject = small(SUBJECTS[name]) if box.is_toy else SUBJECTS[name]
            base = subject.base(device=device, dtype=dtype)
            for batch in batches:
                benches[name, batch] = bench = Bench(subject, copy.deepcopy(base), batch=batch)
                if "eager" in box.options["modes"]:
                    timed(bench, bench.variants, "eager", 0.2 * box.seconds / len(batches) / len(box.options["models"]))
        if "compiled" in box.options["modes"]:
            for bench in benches.values():
                bench.model.compile_stages(**bench.options)
            for bench, variant in _by_worth(list(benches.values()))[: 4 if box.is_toy else None]:
                others = [variant] if variant.name != DENSE else []
                timed(bench, [bench.variants[0], *others], "compiled", 0.01 * box.seconds)
    with box.until():
        for goal, row in _judged(rows):
            if row is not None and row[goal.column] < goal.least:
                bench = benches[row["model"], row["batch"]]
                variant = next(one for one in bench.variants if one.name == row["variant"])
                kernels[f"{goal.model}, {row['variant']}"] = top_kernels(bench, variant, mode=row["mode"])
    if rows:
        draw(rows, box, said[0])
    said += [_verdict(goal, row) for goal, row in _judged(rows)]
    shown = [{name: value for name, value in row.items() if name not in ("gmacs", "rounds", "first_s")} for row in rows]
    table = markdown_table(shown) if rows else "Nothing was timed."
    missed = "\n".join(f"- {name}: {'; '.join(lines)}" for name, lines in kernels.items())
    return Entry(
        lines=[*said, f"{len(rows)} rows in blocks.csv"],
        log="\n\n".join([*said[:1], "\n".join(f"- {line}" for line in said[1:]), table, missed]).rstrip(),
    )


def _by_worth(benches: list[Bench]) -> list[tuple[Bench, Variant]]:
    """What to compile: what the goals are about, of schedules one stage alone before all; then the rest."""
    wanted = [(goal.model, goal.variant + end) for end in (ALONE, "") for goal in GOALS]
    every = [(bench, one) for bench in benches for one in bench.variants if not one.name.startswith("solver")]
    place = {one: index for index, one in enumerate(dict.fromkeys([(GOALS[0].model, DENSE), *wanted]))}

    def worth(pair: tuple[Bench, Variant]) -> tuple[bool, int]:
        bench, variant = pair
        return bench.batch != benches[0].batch, place.get((bench.subject.name, variant.name), len(place))

    return sorted(every, key=worth)


def _judged(rows: list[dict[str, Any]]) -> Iterator[tuple[Goal, dict[str, Any] | None]]:
    """Every goal of the models that were timed, with the row that it is about, or that of one stage alone."""
    for goal in GOALS:
        own = [row for row in rows if row["model"] == goal.model]
        by_name = {row["variant"]: row for row in reversed(own) if row["mode"] == "compiled"}
        if own:
            yield goal, by_name.get(goal.variant, by_name.get(goal.variant + ALONE))


def _verdict(goal: Goal, row: dict[str, Any] | None) -> str:
    what = f"{goal.model}, {goal.variant}: {goal.column} at least {goal.least:.3g}"
    if row is None:
        return f"{what}: not measured"
    kept = "reached" if row[goal.column] >= goal.least else "MISSED"
    speed = f"{row['variant']}, batch {row['batch']}: {row['speedup']:.2f}x, MACs allow {row['allowed']:.2f}x"
    return f"{what}: {kept} with {row[goal.column]:.3g} ({speed})"


def draw(rows: list[dict[str, Any]], box: Box, title: str) -> None:
    """A panel per model and batch: speed over our dense model, eager and compiled, beside what the MACs allow."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [row for row in rows if math.isfinite(row["allowed"])]
    panels = list(dict.fromkeys((row["model"], row["batch"]) for row in rows))
    names = list(dict.fromkeys(row["variant"] for row in rows))[::-1]
    figure, every = plt.subplots(
        1,
        len(panels),
        figsize=(4 + 3.2 * len(panels), 1.6 + 0.3 * len(names)),
        dpi=140,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axes, (model, batch) in zip(every[0], panels, strict=True):
        own = [row for row in rows if (row["model"], row["batch"]) == (model, batch)]
        places = [names.index(row["variant"]) for row in own]
        axes.scatter([row["allowed"] for row in own], places, marker="|", s=160, color="#d1495b", label="MACs allow")
        for mode, marker, color in (("eager", "o", "#8a949c"), ("compiled", "D", "#0b6e99")):
            these = [row for row in own if row["mode"] == mode]
            axes.errorbar(
                [row["speedup"] for row in these],
                [names.index(row["variant"]) for row in these],
                xerr=[row["spread"] for row in these],
                fmt=marker,
                markersize=5,
                color=color,
                label=f"measured, {mode}",
            )
        axes.axvline(1, color="#444444", linewidth=0.8)
        axes.set(title=f"{model}, batch {batch}", xlabel="speed over our dense model")
        axes.grid(axis="x", color="#e4e7ea", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    every[0][0].set_yticks(range(len(names)), names, fontsize=8)
    every[0][-1].legend(frameon=False, fontsize=8)
    figure.suptitle(("TOY SIZES, measures nothing; " if box.is_toy else "") + title, fontsize=9)
    figure.savefig(box.out / "blocks.png")
    plt.close(figure)

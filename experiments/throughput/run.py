"""How fast the paper's schedules are: dense and sparse, eager and compiled, random weights, guidance as in the paper.

    uv run python experiments/throughput/run.py --out experiments/throughput/results          # a GPU, about 10 minutes
    uv run python experiments/throughput/run.py --small --device cpu --dtype fp32 --out /tmp/t  # anywhere, a smoke test

Writes OUT/throughput.csv (a row per model, implementation, schedule and way of compiling), OUT/throughput.png and
OUT/machine.json. `speedup` is over our own dense model compiled in the same way; `allowed` is what the multiply-
accumulates allow; `of_allowed` is their quotient. `samples_per_s` is for SAMPLER_STEPS steps, two rows a sample where
the paper guides. `of_matrix_rate` compares with one large matrix product, measured in the same run. `loop_overhead` is
what guidance and the scheduler add to the forward passes in a real sampling loop.
"""

import argparse
import csv
import json
import platform
from dataclasses import asdict, fields
from datetime import date
from pathlib import Path

import diffusers
import torch
from measure import Row, matrix_rate, timed
from models import SUBJECTS, small

from flexsearch.latency.measure import cpu_threads, device_name

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
COMPILED = ("none", "default", "max-autotune-no-cudagraphs", "reduce-overhead", "max-autotune", "eager-backend")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=SUBJECTS, default=list(SUBJECTS), metavar="MODEL")
    parser.add_argument("--batch", type=int, help="samples together; the default is each model's own")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--compile", nargs="+", choices=COMPILED, default=["none", "default"], metavar="MODE")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="CPU threads; has no effect on a GPU")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--sampler-steps", type=int, default=250)
    parser.add_argument(
        "--small", action="store_true", help="7 blocks of width 48: checks the script, measures nothing"
    )
    parser.add_argument("--loop-steps", type=int, default=20, help="of a real sampling loop that is timed; 0: none")
    parser.add_argument(
        "--fuse", choices=("auto", "yes", "no"), default="auto", help="fuse our matrices; auto: on a GPU"
    )
    parser.add_argument("--out", type=Path, default=Path("experiments/throughput/results"))
    return parser.parse_args()


def write_csv(rows: list[Row], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=[spec.name for spec in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {key: f"{value:.5g}" if isinstance(value, float) else value for key, value in asdict(row).items()}
            for row in rows
        )


def main() -> None:
    chosen = arguments()
    device, dtype = torch.device(chosen.device), DTYPES[chosen.dtype]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    chosen.out.mkdir(parents=True, exist_ok=True)
    fused = chosen.fuse == "yes" or (chosen.fuse == "auto" and device.type == "cuda")
    rows: list[Row] = []
    with cpu_threads(chosen.threads):
        rate = matrix_rate(device=device, dtype=dtype, repeats=chosen.repeats)
        machine = {
            "device": device_name(device),
            "matrix_tflops": 2 * rate / 1e12,
            "dtype": chosen.dtype,
            "sampler_steps": chosen.sampler_steps,
            "repeats": chosen.repeats,
            "fused": fused,
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "diffusers": diffusers.__version__,
            "python": platform.python_version(),
            "date": date.today().isoformat(),
            "small": chosen.small,
        }
        print(json.dumps(machine), flush=True)
        (chosen.out / "machine.json").write_text(json.dumps(machine, indent=2) + "\n")
        for name in chosen.models:
            subject = small(SUBJECTS[name]) if chosen.small else SUBJECTS[name]
            for compiled in chosen.compile:
                torch.compiler.reset()
                found = timed(
                    name,
                    subject,
                    batch=chosen.batch,
                    device=device,
                    dtype=dtype,
                    compiled=compiled,
                    repeats=chosen.repeats,
                    sampler_steps=chosen.sampler_steps,
                    rate=rate,
                    loop_steps=chosen.loop_steps,
                    fused=fused,
                )
                rows += found
                for row in found:
                    print(line(row), flush=True)
                write_csv(rows, chosen.out / "throughput.csv")  # after every model, so that a cut loses nothing
                if device.type == "cuda":
                    torch.cuda.empty_cache()
    from picture import draw  # last: where there is no matplotlib, the table is written and can be drawn elsewhere

    draw(chosen.out)


def line(row: Row) -> str:
    peak = "" if row.peak_gib is None else f"  {row.peak_gib:6.1f} GiB"
    loop = "" if row.loop_overhead is None else f"  loop {row.loop_overhead:+.1%}"
    return (
        f"{row.model:11} {row.implementation:10} {row.schedule:22} {row.compiled:16} {row.seconds * 1e3:9.2f} ms  "
        f"{row.samples_per_s:9.4g} samples/s{peak}  {row.gmacs:8.2f} GMACs  "
        f"{row.speedup:5.2f}x of {row.allowed:4.2f}x  {row.of_matrix_rate:5.1%} of a matrix product{loop}"
    )


if __name__ == "__main__":
    main()

"""How well the sum of operation times predicts whole images, on candidates that it was not fitted on.

    uv run python experiments/latency_profile/run.py --out experiments/latency_profile/cpu

    uv run python experiments/latency_profile/run.py --variants --out experiments/latency_profile/cpu_variants

About 3 minutes on a CPU for the quickstart's space. `--space` takes any other, also without the base's weights; on a
machine with a GPU that is what is timed. `--variants` searches sampling too: solvers, reuse over steps, and guidance's
rows where the space is guided; the error is then told for each kind of candidate as well.

Beside the composed latency stands what multiply-accumulates alone predict: MACs of all sampler steps, times the one
factor that fits the held-out candidates best. Writes `held_out.csv`, `profile.json` and `latency_profile.png`.
"""

import argparse
import json
import sys
from pathlib import Path

from held_out import both_fits, draw, fits_by_kind, table_of

from flexsearch.config import load_config
from flexsearch.trial.profiles import make_profile

VARIANTS = {
    "space.solver": "{choice: [base, ab2, dpmsolver++, unipc]}",
    "space.cache": (
        "{full: {choice: [1, 0.67, 0.5, 0.4, 0.33]}, warmup: {int: [1, 2]}, skew: {choice: [0, 1]}, "
        "nulls: {choice: [0, 0.5, 1]}, first: {choice: [0, 1, 2]}, last: {choice: [0, 1]}, order: {choice: [0, 1]}, "
        "reuse: {choice: [span, modules]}}"
    ),
}
GUIDED = {"space.guidance": "{to: {choice: [0.6, 0.8, 1]}, every: {choice: [1, 2]}}"}
"""The same where the space is guided."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", type=Path, default=Path("search_spaces/quickstart.yaml"))
    parser.add_argument("--set", action="append", default=[], help="override a field, as in flexsearch run")
    parser.add_argument("--variants", action="store_true", help="search sampling too")
    parser.add_argument("--held-out", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    config = load_config(arguments.space, arguments.set)
    if arguments.variants:
        variants = {**VARIANTS, **(GUIDED if config.sampling.is_guided(config.shape) else {})}
        config = load_config(
            arguments.space, [*(f"{field}={value}" for field, value in variants.items()), *arguments.set]
        )
    profile = make_profile(
        config.trial_settings,
        others=(),
        rounds=arguments.rounds,
        num_held_out=arguments.held_out,
        report=lambda what, done, total: print(f"{what}: {done} of {total}", file=sys.stderr),
    )
    table, protocol = table_of(profile, config), profile.protocol
    fits = both_fits(table)
    title = (
        f"{config.name}, {len(table)} candidates outside the fit; {protocol['device']}, batch {protocol['batch']}, "
        f"{protocol['dtype']}, guidance {protocol['guidance']:g}, torch {protocol['torch']}"
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(arguments.out / "held_out.csv", index=False, float_format="%.5g")
    (arguments.out / "profile.json").write_text(json.dumps(profile.to_dict(), indent=2))
    draw(table, fits, title, arguments.out / "latency_profile.png")
    print(title)
    for fit in [*fits, *(fits_by_kind(table) if arguments.variants else [])]:
        print(fit)

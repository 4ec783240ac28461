"""Makes the quickstart's warm start as `search_spaces/quickstart.yaml` says, and puts it among the assets,
in half precision.

    uv run python experiments/quickstart_assets/make_warm_start.py

Run it again after any change to the base, the space or `warm_start` in that file; a test tells when it is out of date.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.torch import load_file, save_file

from flexsearch.config import load_config
from flexsearch.paths import embedded_path
from flexsearch.trial.prepare import prepare
from flexsearch.trial.shared_files import SharedFiles


def report(what: str, done: int, total: int) -> None:
    if done % 100 == 0:
        print(f"{what}: {done} of {total}", flush=True)


if __name__ == "__main__":
    config = load_config(Path("search_spaces/quickstart.yaml"))
    assets = embedded_path("quickstart")
    with TemporaryDirectory() as folder:
        run_dir = Path(folder)
        config.save(run_dir)
        path = SharedFiles.of(run_dir, config.trial_settings).warm_start
        for made in prepare(run_dir, config.trial_settings, seed=config.search.seed, report=report):
            print(f"{made.what}: {made.seconds:.0f} s on {made.device}")
        for old in assets.glob("warm_start-*"):
            old.unlink()
        halved = {key: value.half() for key, value in load_file(path).items()}  # the assets stay below 12 MB
        save_file(halved, assets / path.name)
        shutil.copyfile(path.with_suffix(".json"), assets / path.with_suffix(".json").name)
    print(f"{assets / path.name}: {(assets / path.name).stat().st_size / 1e6:.2f} MB")

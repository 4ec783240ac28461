"""A search where `import ray` fails, as on a GPU machine without it."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml
from builders import Call

_WITHOUT_RAY = """
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.partition(".")[0] == "ray" else find(name, *rest)
try:
    import ray
except ModuleNotFoundError:
    from flexsearch.cli.app import main
    main()
else:
    raise SystemExit("ray was imported")
"""


def test_the_local_executor_needs_no_ray(tiny_config: Call, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(tiny_config(search={"trials": 3}, space={"sampler_steps": 1})))
    command = [sys.executable, "-c", _WITHOUT_RAY, "run", "space.yaml", "--run-dir", "run", "--executor", "local"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(tmp_path / "run" / "front.csv")) == 3

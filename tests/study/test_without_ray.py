"""A search where `import ray` fails, as on a GPU machine without it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

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


def test_the_local_executor_needs_no_ray(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(yaml.safe_dump(tiny_config(search={"trials": 4})))

    def flexsearch(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", _WITHOUT_RAY, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)

    done = flexsearch("run", space, "--run-dir", "run", "--executor", "local")
    assert done.returncode == 0, done.stderr
    found = json.loads(flexsearch("front", "run", "--json").stdout)
    assert found["counts"]["complete"] == 4

"""What `pip install` gets: the wheel has all that a checkout has to search with."""

import subprocess
import sys
import zipfile
from pathlib import Path

from flexsearch.paths import shipped_spaces

ROOT = Path(__file__).parents[1]


def test_the_wheel_has_spaces_assets_and_types(tmp_path: Path) -> None:
    build = f"from hatchling.build import build_wheel; build_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("flexsearch-*.whl"))) as wheel:
        names = set(wheel.namelist())
        for space in shipped_spaces().values():
            assert wheel.read(f"flexsearch/search_spaces/{space.name}") == space.read_bytes()
    package = ROOT / "flexsearch"
    files = {path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path.relative_to(ROOT).as_posix() for path in files} <= names
    assert {"flexsearch/py.typed", "flexsearch/assets/quickstart/images.npz"} <= names
    assert {name.split("/")[0] for name in names} == {
        "flexsearch",
        *(n.split("/")[0] for n in names if ".dist-info/" in n),
    }

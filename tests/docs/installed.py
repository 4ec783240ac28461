"""A project of a tutorial, as if it had been installed."""

import tomllib
from pathlib import Path


def install(project: Path) -> None:
    """What `pip install -e .` leaves behind of a pure Python project: its name and its entry points."""
    described = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    folder = project / f"{described['name'].replace('-', '_')}-{described['version']}.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Name: {described['name']}\nVersion: {described['version']}\n")
    groups = described["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{name} = {where}\n" for name, where in one.items()) for group, one in groups]
    (folder / "entry_points.txt").write_text("\n".join(lines))

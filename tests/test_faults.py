"""The table of faults in `README.md`: every test that it names is there."""

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
NAMED = re.compile(r"`(?P<file>[\w/]+\.py)::(?P<test>\w+)`")


def names_in(file: Path) -> set[str]:
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_fault_has_tests_that_are_there() -> None:
    rows = [line for line in (HERE / "README.md").read_text().splitlines() if line.startswith("| ")][1:]
    faults = [line for line in rows if not line.startswith("| **") or "::" in line]
    assert len(faults) > 40
    for line in faults:
        named = list(NAMED.finditer(line))
        assert named, line
        for found in named:
            assert found["test"] in names_in(HERE / found["file"]), found[0]

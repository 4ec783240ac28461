"""The tests that only a GPU can pass."""

import re
import subprocess
import sys
from pathlib import Path

from stages.box import Box, Entry

ROOT = Path(__file__).resolve().parents[3]


def run(box: Box) -> Entry:
    """Run the tests marked `gpu` in a process of their own, and list those that fail."""
    marked = sorted(str(path) for path in (ROOT / "tests").rglob("test_*.py") if "mark.gpu" in path.read_text())
    command = [sys.executable, "-m", "pytest", *marked, "-m", "gpu", "-n", "0", "-rfEs", "--tb=line", "--no-header"]
    try:
        done = subprocess.run(
            [*command, "-p", "no:cacheprovider"], cwd=ROOT, capture_output=True, text=True, timeout=max(box.left, 1)
        )
        said = done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        said = (error.stdout or b"").decode(errors="replace") + f"\nstopped after {box.seconds:.0f} s\n"
    lines = [line[:160] for line in said.splitlines() if line.strip()]
    failed = [line for line in lines if re.match("FAILED|ERROR|SKIPPED", line)]
    verdict = lines[-1].strip("= ") if lines else "pytest said nothing"
    tail = "" if failed or " passed" in verdict else "\n".join(lines[-20:])
    return Entry(
        lines=[verdict, *failed[:8]],
        log="\n".join([f"Tests marked `gpu`: {verdict}.", *(f"- {line}" for line in failed), tail]).rstrip(),
    )

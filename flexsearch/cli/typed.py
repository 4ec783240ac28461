"""Commands in hints, written as this user started the program."""

import os
import re
import shutil
import sys
from pathlib import Path

from flexsearch.paths import as_word

_COMMAND = re.compile(r"(?<![\w./-])(?<!-m )flexsearch (?=[a-z])")


def as_typed(text: str) -> str:
    """Write every `flexsearch COMMAND` in a text so that it can be typed here."""
    return _COMMAND.sub(lambda _: f"{_program()} ", text)


def _program() -> str:
    """Say how the program was started, as far as a process can know that."""
    started = sys.argv[0]
    name = "flexsearch"
    if Path(started).name == "__main__.py":
        name = "python -m flexsearch"
    elif "/" in started and shutil.which(name) != started:
        name = as_word(started)
    return f"uv run {name}" if "UV_RUN_RECURSION_DEPTH" in os.environ else name

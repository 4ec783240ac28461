"""Fenced code blocks of a Markdown page, and running them in the order of the page."""

import io
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from string import Template
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

_OPEN = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)(?: title=\"(?P<title>[^\"]+)\")? *$")

_ASSIGNMENT = re.compile(r"^(?P<name>[A-Z_]+)=\"(?P<value>[^\"]*)\"$")


@dataclass(frozen=True, kw_only=True)
class Fence:
    """One fenced block.

    Attributes:
        page: its file.
        line: number of its first line, from 1.
        language: as written behind the fence; may be empty.
        title: name of the file that it is, or None.
        text: without the indentation of the fence.
    """

    page: Path
    line: int
    language: str
    title: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def fences(page: Path) -> Iterator[Fence]:
    """The fenced blocks of a page, top to bottom."""
    lines = enumerate(page.read_text().splitlines(), start=1)
    for number, line in lines:
        found = _OPEN.match(line)
        if found is None:
            assert "```" not in line, f"{page}:{number}: a fence that is not understood: {line}"
            continue
        body = []
        for _, inner in lines:
            if inner.strip() == "```":
                break
            body.append(inner.removeprefix(found["indent"]))
        yield Fence(
            page=page, line=number + 1, language=found["language"], title=found["title"], text="\n".join(body) + "\n"
        )


def command_lines(fence: Fence) -> Iterator[list[str]]:
    """The command lines of a shell block (or one without a language), split into words: continued lines joined, the
    block's own `NAME="..."` put in."""
    if fence.language not in ("", "sh"):
        return
    variables: dict[str, str] = {}
    for line in fence.text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if assigned := _ASSIGNMENT.match(line):
            variables[assigned["name"]] = assigned["value"]
            continue
        try:
            yield shlex.split(Template(line).safe_substitute(variables), comments=True)
        except ValueError:  # a drawing or a table, not a command
            continue


def flexsearch_arguments(words: Sequence[str]) -> list[str] | None:
    """What flexsearch is called with in a command line; None where it is not called."""
    for index, word in enumerate(words):
        if word == "flexsearch" and (index == 0 or words[index - 1] in ("run", "-m", "&&")):
            return list(words[index + 1 :])
    return None


def import_titled(page: Path) -> list[ModuleType]:
    """The titled Python blocks of a page as modules, in order; each can import those before it."""
    modules = []
    for fence in fences(page):
        if fence.language == "python" and fence.title is not None:
            module = ModuleType(Path(fence.title).stem)
            sys.modules[module.__name__] = module
            exec(compile("\n" * (fence.line - 1) + fence.text, str(page), "exec"), module.__dict__)
            modules.append(module)
    return modules


def run_page(page: Path, folder: Path, *, flexsearch: Callable[[Sequence[str]], None]) -> dict[str, Any]:
    """Does what the page says, in `folder`: writes titled blocks, executes Python, gives commands to `flexsearch`.

    A `text` block after a Python block is what that prints.

    Returns:
        The names that the Python blocks defined, in one namespace.
    """
    names: dict[str, Any] = {"__name__": page.stem}
    printed: str | None = None
    for fence in fences(page):
        if fence.title is not None:
            file = folder / fence.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(fence.text)
        elif fence.language == "python":
            padded = "\n" * (fence.line - 1) + fence.text  # tracebacks show the line of the page
            with redirect_stdout(io.StringIO()) as out:
                exec(compile(padded, str(page), "exec"), names)
            printed = out.getvalue()
        elif fence.language == "text" and printed is not None:
            assert printed == fence.text, f"{fence} is not what the block before it prints"
            printed = None
        else:
            for words in command_lines(fence):
                arguments = flexsearch_arguments(words)
                if arguments is not None:
                    flexsearch(arguments)
    return names

"""The site without building it: the navigation names every page, links resolve, the reference names what exists."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fences import PAGES, ROOT, run_page

DOCS = ROOT / "docs"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
PACKAGES = {file.parent.name for file in (ROOT / "flexsearch").glob("*/__init__.py")} - {"cli"}

_CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_IDENTIFIER = re.compile(r"^::: (?P<name>[\w.]+)$", re.MULTILINE)
_HEADING = re.compile(r"^#+ (?P<title>.+)$", re.MULTILINE)


def nav_files(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        values = entry.values() if isinstance(entry, dict) else [entry]
        for value in values:
            if isinstance(value, list):
                yield from nav_files(value)
            else:
                yield value


def anchors(page: Path) -> set[str]:
    """What headings and identifiers of a page can be linked by."""
    text = page.read_text()
    titles = (found["title"] for found in _HEADING.finditer(re.sub(r"```.*?```", "", text, flags=re.DOTALL)))
    slugs = {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}
    return slugs | {found["name"] for found in _IDENTIFIER.finditer(text)}


def test_the_navigation_names_every_page_once() -> None:
    named = list(nav_files(SITE["nav"]))
    assert sorted(named) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def test_the_site_needs_no_network() -> None:
    assert SITE["theme"]["font"] is False
    assert SITE["strict"] is True
    assert not {"extra_css", "extra_javascript"} & SITE.keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_resolve(page: Path) -> None:
    for found in _LINK.finditer(_CODE.sub("", page.read_text())):
        target, _, anchor = found["target"].partition("#")
        if target.startswith(("http://", "https://")):
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), found[0]
        if page != ROOT / "README.md":
            assert file.is_relative_to(DOCS), f"{found[0]} leaves the site"
        if anchor:
            assert anchor in anchors(file), f"{found[0]}: {sorted(anchors(file))}"


@pytest.mark.parametrize("page", sorted((DOCS / "reference").glob("*.md")), ids=lambda page: page.stem)
def test_the_reference_names_what_exists(page: Path) -> None:
    for found in _IDENTIFIER.finditer(page.read_text()):
        spec = importlib.util.find_spec(found["name"])
        assert spec is not None, found["name"]
        assert spec.origin is not None
        assert ast.get_docstring(ast.parse(Path(spec.origin).read_text())), f"{found['name']} has no docstring"


def test_the_reference_has_every_package() -> None:
    assert {page.stem for page in (DOCS / "reference").glob("*.md")} == PACKAGES | {"config", "index"}


def test_the_example_of_the_reference_prints_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names = run_page(DOCS / "reference" / "index.md", ROOT, flexsearch=list)
    assert names["space"].size == 92_160

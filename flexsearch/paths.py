"""Say where files lie that a user names: on disk, or shipped with the package; and where results are kept."""

import difflib
import os
import shlex
import warnings
from pathlib import Path

from flexsearch.errors import Note, UserError

PREFIX = "embedded:"
SHIPPED_PROMPTS = f"{PREFIX}prompts.txt"
"""200 prompts, one a line: what images of models that read text are drawn of, where there are no others."""
SCHEMA = "space.json"
"""Beside search spaces: their JSON schema, which editors read where a space names it."""

_PACKAGE = Path(__file__).resolve().parent
_ASSETS = _PACKAGE / "assets"


def embedded_path(name: str) -> Path:
    """Give the path of package data, such as `quickstart/images.npz`."""
    return _ASSETS / name


def resolve_path(where: str, *, inside: str = "") -> Path:
    """Give the path that a configuration means.

    Args:
        where: a path, or `embedded:NAME`.
        inside: file or folder below it.
    """
    folder = embedded_path(where.removeprefix(PREFIX)) if where.startswith(PREFIX) else Path(where).expanduser()
    return folder / inside if inside else folder


def as_word(path: Path | str) -> str:
    """Write a path as a word of a command line, which no shell takes apart and no program takes for an option."""
    word = str(path)
    return shlex.quote(f"./{word}" if word.startswith("-") else word)


def checkpoint_folder(checkpoint: str) -> Path:
    """Give the folder of a dense base, in diffusers' layout; one of the Hugging Face hub has none."""
    return resolve_path(checkpoint, inside="base" if checkpoint.startswith(PREFIX) else "")


def is_path(where: str) -> bool:
    """Tell whether `where` is a path or embedded, and no name on the Hugging Face hub."""
    return where.startswith((PREFIX, ".", "/", "~"))


def cache_folder(name: str) -> Path:
    """Give the folder where `name` ("warm_starts", "profiles") are kept for other runs of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "flexsearch" / name


def shipped_spaces() -> dict[str, Path]:
    """Find the search spaces that come with flexsearch, by name: in the wheel, or at the top of a checkout."""
    inside = _PACKAGE / "search_spaces"
    folder = inside if inside.is_dir() else _PACKAGE.with_name("search_spaces")
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def space_file(space: Path) -> Path:
    """Give the file of a search space: the path itself, or, for a name without folder and suffix, a shipped one.

    A file of exactly that name goes first. `NAME.yaml` in the working directory does not, and a note says so.

    Raises:
        UserError: a name that nothing has, or the path of a shipped space that is not there.
    """
    shipped = shipped_spaces()
    is_name = not space.suffix and space.name == str(space)
    if space.exists() or not (is_name or space.stem in shipped):
        return space
    if str(space) in shipped:
        own = space.with_suffix(".yaml")
        if own.exists():
            warnings.warn(f"{space} is the space that flexsearch ships; yours is {own}", Note, stacklevel=2)
        return shipped[str(space)]
    raise UserError("is neither a file nor a shipped space", field=str(space), nearest=nearest_space(space.stem))


def nearest_space(name: str) -> str:
    """Give the shipped space whose name is most like one that was typed, or say what lists them all."""
    close = difflib.get_close_matches(name, shipped_spaces(), n=1)
    return close[0] if close else "one of `flexsearch spaces`"

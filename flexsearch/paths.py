"""Where files lie that a configuration names: on disk, or embedded in the package; and where results are kept."""

import os
from pathlib import Path

PREFIX = "embedded:"

_ASSETS = Path(__file__).resolve().parent / "assets"


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


def checkpoint_folder(checkpoint: str) -> Path:
    """Give the folder of a dense base, in diffusers' layout; one of the Hugging Face hub has none."""
    return resolve_path(checkpoint, inside="base" if checkpoint.startswith(PREFIX) else "")


def is_path(where: str) -> bool:
    """Tell whether `where` is a path or embedded, and no name on the Hugging Face hub."""
    return where.startswith((PREFIX, ".", "/", "~"))


def cache_folder(name: str) -> Path:
    """Give the folder where `name` ("warm_starts", "profiles") are kept for other runs of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "flexsearch" / name

"""Where files lie that a configuration names: on disk, or embedded in the package."""

from pathlib import Path

PREFIX = "embedded:"

_ASSETS = Path(__file__).resolve().parent / "assets"


def embedded_path(name: str) -> Path:
    """The path of package data, such as `quickstart/images.npz`."""
    return _ASSETS / name


def resolve_path(where: str, *, inside: str = "") -> Path:
    """The path that a configuration means.

    Args:
        where: a path, or `embedded:NAME`.
        inside: file or folder below it.
    """
    folder = embedded_path(where.removeprefix(PREFIX)) if where.startswith(PREFIX) else Path(where).expanduser()
    return folder / inside if inside else folder

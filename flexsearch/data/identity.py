"""Identity of data: of what files hold, cheaply, so that results of data that changed are never taken for equal."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from flexsearch.errors import reading

_READ = 64  # files, evenly spaced
_BYTES = 1 << 20  # of each


def files_digest(root: Path, files: Sequence[Path]) -> str:
    """Identify files by names, sizes, and the contents of up to 64 of them, to 12 hexadecimal digits.

    Args:
        root: their folder.
        files: paths below it.

    Raises:
        UserError: one cannot be read; names it.
    """
    found = hashlib.sha256()
    read = {index * len(files) // min(_READ, len(files)) for index in range(min(_READ, len(files)))}
    for index, name in enumerate(files):
        with reading(root / name):
            size = (root / name).stat().st_size
            found.update(f"{name.as_posix()} {size}\n".encode("utf-8", "surrogateescape"))
            if index in read:
                with (root / name).open("rb") as file:
                    found.update(file.read(_BYTES))
    return found.hexdigest()[:12]


def array_digest(*arrays: bytes | memoryview) -> str:
    """Identify what lies in memory, to 12 hexadecimal digits."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(array)
    return found.hexdigest()[:12]

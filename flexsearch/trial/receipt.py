"""Receipts of files that trials share: what was made, what it cost, and the checksum by which the file is told whole.

What a kill cut short counts as well: beside a file that is being made lies what its making has cost so far.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from flexsearch.files import file_sha256, read_json, write_json
from flexsearch.trial.clock import Meter


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What a file is and what it cost; receipts of earlier versions have no checksum."""

    what: str
    seconds: float
    device: str
    sha256: str | None = None


def kept(path: Path, receipt: Path) -> Receipt | None:
    """Read the receipt of a file; None where one of the two is missing or damaged."""
    try:
        found = Receipt(**read_json(receipt))
    except (OSError, ValueError, TypeError):
        return None
    is_kept = is_whole(path) if found.sha256 is None else path.is_file() and file_sha256(path) == found.sha256
    return found if is_kept else None


def is_whole(path: Path) -> bool:
    """Tell whether a safetensors or JSON file can be read."""
    try:
        if path.suffix == ".json":
            read_json(path)
            return True
        with safe_open(path, framework="pt"):
            return True
    except (OSError, ValueError, SafetensorError):
        return False


def make(path: Path, receipt: Path, *, what: str, device: str, work: Callable[[Callable[[], None]], None]) -> Receipt:
    """Make a file, then its receipt.

    Args:
        path: of the file.
        receipt: of its receipt.
        what: its name for the user.
        device: that makes it.
        work: leaves the file; calls what it is given every now and then.
    """
    spent = path.with_suffix(".spent.json")
    with Meter(_read_spent(spent), save=lambda seconds: write_json(spent, {"seconds": seconds})) as meter:
        work(meter.tick)
        made = Receipt(what=what, seconds=round(meter.seconds, 3), device=device, sha256=file_sha256(path))
        write_json(receipt, asdict(made))
    spent.unlink(missing_ok=True)
    return made


def _read_spent(path: Path) -> float:
    try:
        return float(read_json(path)["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0

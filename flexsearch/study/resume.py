"""Say what a run must share with the one that it goes on with: its settings, and the directory of its study."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flexsearch.errors import UserError
from flexsearch.files import write_atomically
from flexsearch.study.optuna_study import OptunaStudy

_FREE_TO_CHANGE = (
    "storage",
    "search.trials",
    "search.max_retries",
    "search.noise_schedules",
    "search.noise_seeds",
    "search.log",
    "resources",
    "objectives.latency.mixed",
)
_BEFORE = {
    "base.dtype": "fp32",
    "objectives.latency.compile": False,
    "sampling.guidance_renorm": False,
    "search.fine_tuned_dense": False,
    "search.seed_from": "none",
}
"""Fields that runs of earlier versions lack, with what these did; others that came later are null there."""


def check_unchanged(before: Mapping[str, Any] | None, now: Mapping[str, Any], *, is_shared: bool) -> None:
    """Check that every setting that decides results is what the study was started with.

    Args:
        before: the whole configuration of the study; None of one that has yet to begin.
        now: of this run.
        is_shared: whether the database may hold other runs' studies.

    Raises:
        UserError: names the first field that changed.
    """
    if before is None:
        return
    old, new = {**_BEFORE, **dict(_leaves(before))}, dict(_leaves(now))
    for field in sorted(set(old) | set(new)):
        if old.get(field) != new.get(field) and not field.startswith(_FREE_TO_CHANGE):
            raise UserError(
                f"was {old.get(field)!r} when this run was started, but got {new.get(field)!r}; use another "
                f"--run-dir{' and another name' if is_shared else ''}",
                field=field,
                nearest=old.get(field),
            )


def check_directory(run_dir: Path, optuna_study: OptunaStudy, *, name: str, is_new: bool, is_shared: bool) -> None:
    """Check that the study of a shared database began in this run directory, which has its trials' files; note it.

    Args:
        run_dir: of the run.
        optuna_study: of the run.
        name: of the study.
        is_new: whether the directory has no run yet.
        is_shared: whether the database may hold other runs' studies.

    Raises:
        UserError: it is another run's.
    """
    note = run_dir / "study.id"
    known = note.read_text(encoding="utf-8", errors="replace") if note.exists() else None
    if known is not None and len(known) != len(optuna_study.identity):  # damaged: it names no study
        known = None
    is_strange = is_new if known is None else known != optuna_study.identity
    if is_strange and is_shared and optuna_study.notes("digest"):
        raise UserError(
            f"holds a study {name!r} that began in another run directory; go on with that one, or take another "
            "name (--set name=...) and another --run-dir",
            field="--storage",
        )
    if known != optuna_study.identity:
        write_atomically(note, optuna_study.identity)


def _leaves(values: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(values, Mapping):
        return [leaf for key, value in values.items() for leaf in _leaves(value, f"{prefix}.{key}" if prefix else key)]
    return [(prefix, values)]

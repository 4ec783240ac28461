"""A search space file: YAML in, a checked configuration out. Every error names the field's path."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Any

import yaml
from annotated_types import Len
from pydantic import TypeAdapter, ValidationError

from flexsearch.diffusion.optimisation import Optimisation
from flexsearch.errors import UserError
from flexsearch.files import write_atomically
from flexsearch.settings import settings
from flexsearch.study.settings import Resources, SearchSettings
from flexsearch.trial.settings import TrialSettings


@settings
class RunConfig(TrialSettings):
    """A whole search space file: what a trial reads, and how the search goes.

    Attributes:
        name: of the study; the run directory is `runs/<name>` unless given.
        search: trials, sampler, seed.
        resources: of one trial.
        pretrain: how `flexsearch pretrain` trains the dense base, where there is none.
        storage: SQLAlchemy URL of the study; None is a SQLite file in the run directory.
    """

    name: Annotated[str, Len(1)]
    search: SearchSettings = field(default_factory=SearchSettings)
    resources: Resources = field(default_factory=Resources)
    pretrain: Optimisation | None = None
    storage: str | None = None

    @property
    def trial_settings(self) -> TrialSettings:
        """The part that trials read."""
        return TrialSettings(**{spec.name: getattr(self, spec.name) for spec in fields(TrialSettings)})

    def to_dict(self) -> dict[str, Any]:
        """JSON values, defaults included."""
        values: dict[str, Any] = TypeAdapter(RunConfig).dump_python(self, mode="json")
        return values

    def save(self, run_dir: Path) -> None:
        """Writes the resolved configuration and what the workers read."""
        write_atomically(run_dir / "config.yaml", yaml.safe_dump(self.to_dict(), sort_keys=False))
        self.trial_settings.save(run_dir)


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a YAML file, applies `key=value` overrides, and checks everything.

    Raises:
        UserError: the file or a field is wrong; names it, the rule and the value.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", field=str(path)) from None
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"is not YAML ({' '.join(str(error).split())})", field=str(path)) from None
    if not isinstance(values, dict):
        raise UserError(f"must be a mapping, but got {type(values).__name__}", field=str(path))
    for override in overrides:
        _override(values, override)
    return parse_config(values)


def parse_config(values: Mapping[str, Any]) -> RunConfig:
    """Checks a configuration, its search space included."""
    try:
        config = TypeAdapter(RunConfig).validate_python(values)
    except ValidationError as error:
        raise _first_error(error) from None
    _ = config.search_space  # raises where a combination of choices could not be built
    return config


def _override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator:
        raise UserError(f"must be key=value, but got {override!r}", field="--set", nearest="--set search.trials=20")
    *parents, last = key.split(".")
    place: Any = values
    for name in parents:
        place = place[int(name)] if isinstance(place, list) and name.isdigit() else place.setdefault(name, {})
        if not isinstance(place, dict | list):
            raise UserError(f"{name} is a value and has no fields", field=f"--set {key}")
    try:
        place[int(last) if isinstance(place, list) else last] = yaml.safe_load(text)
    except (ValueError, IndexError, yaml.YAMLError):
        raise UserError(f"cannot be set to {text!r}", field=f"--set {key}") from None


def _first_error(error: ValidationError) -> UserError:
    found = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in found["loc"])
    if found["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        *_, name = found["loc"]
        close = difflib.get_close_matches(str(name), _all_fields(), n=1)
        return UserError("is not a known field", field=path, nearest=close[0] if close else None)
    if found["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return UserError("is missing", field=path)
    message = found["msg"].replace("Input should be", "must be")
    return UserError(f"{message}, but got {found['input']!r}", field=path)


def _all_fields() -> list[str]:
    names: set[str] = set()
    schema = TypeAdapter(RunConfig).json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        names |= set(part.get("properties", {}))
    return sorted(names)

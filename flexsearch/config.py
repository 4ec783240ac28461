"""A search space file: YAML in, a checked configuration out. Every error names the field's path."""

import difflib
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import TypeAdapter

from flexsearch.diffusion.optimisation import Optimisation
from flexsearch.errors import UserError, reading
from flexsearch.files import write_atomically
from flexsearch.objectives.settings import SIDES
from flexsearch.old_names import as_it_was_written
from flexsearch.paths import space_file
from flexsearch.schedule.shape import PIXEL_CHANNELS
from flexsearch.settings import settings
from flexsearch.settings_file import checked, read_mapping, read_values
from flexsearch.space.domains import corners
from flexsearch.space.schema import space_schema
from flexsearch.study.secrets import VARIABLE, with_secrets, without_secrets
from flexsearch.study.settings import Resources, SearchSettings
from flexsearch.trial.settings import TrialSettings

if TYPE_CHECKING:  # `plan` waits for none of it
    from flexsearch.study.executor import ExecutorName
    from flexsearch.study.forerunner import Forerunner
    from flexsearch.study.run import RunPlan

_FILE = "config.yaml"
_MOST_NAMED = 5  # run directories in a message
_LONGEST_NAME, _MOST_BYTES = 200, 250  # of a column of the database, and of a name on most file systems


@settings
class RunConfig(TrialSettings):
    """A whole search space file: what a trial reads, and how the search goes.

    Attributes:
        name: of the study; the run directory is `runs/<name>` unless given.
        search: trials, sampler, seed.
        resources: of one trial.
        pretrain: how `flexsearch pretrain` trains the dense base, where there is none.
        storage: SQLAlchemy URL of the study; None is a SQLite file in the run directory. It is kept without its
            password.
    """

    name: str
    search: SearchSettings = field(default_factory=SearchSettings)
    resources: Resources = field(default_factory=Resources)
    pretrain: Optimisation | None = None
    storage: str | None = None

    def __post_init__(self) -> None:
        _check_name(self.name)

    @property
    def trial_settings(self) -> TrialSettings:
        """The part that trials read."""
        return TrialSettings(**{spec.name: getattr(self, spec.name) for spec in fields(TrialSettings)})

    def plan(
        self,
        run_dir: Path,
        *,
        executor: "ExecutorName" = "auto",
        ray_address: str | None = None,
        hours: float | None = None,
        forerunner: "Forerunner | None" = None,
    ) -> "RunPlan":
        """Say what a search of this space does."""
        from flexsearch.study.run import RunPlan

        return RunPlan(
            name=self.name,
            settings=self.trial_settings,
            search=self.search,
            resources=self.resources,
            config=self.to_dict(),
            save=self.save,
            run_dir=run_dir,
            executor=executor,
            storage=self.storage,
            ray_address=ray_address,
            hours=hours,
            forerunner=forerunner,
        )

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values, defaults included and secrets not."""
        values: dict[str, Any] = TypeAdapter(RunConfig).dump_python(self, mode="json")
        return {**values, "storage": without_secrets(self.storage)}

    def save(self, run_dir: Path) -> None:
        """Write the resolved configuration and what the workers read."""
        write_atomically(run_dir / _FILE, yaml.safe_dump(self.to_dict(), sort_keys=False))
        self.trial_settings.save(run_dir)


def _check_name(name: str) -> None:
    """Check that the name of a space is that of one folder.

    Raises:
        UserError: it is not.
    """
    categories = {unicodedata.category(character) for character in name}
    if name in ("", ".", "..") or "/" in name or categories & {"Cc", "Cs"}:
        nearest = re.sub(r"[^\w.-]+", "_", name[:_LONGEST_NAME]).strip("._") or "search"
        raise UserError(
            f"must name one folder, without / and control characters, but got {name[:100]!r}",
            field="name",
            nearest=nearest,
        )
    if len(name) > _LONGEST_NAME or len(name.encode()) > _MOST_BYTES:
        raise UserError(
            f"must have at most {_LONGEST_NAME} characters and {_MOST_BYTES} bytes, but has {len(name)} and "
            f"{len(name.encode())}",
            field="name",
        )


def config_schema() -> dict[str, Any]:
    """Give the JSON schema of a search space file, by which editors complete and check it."""
    found = TypeAdapter(RunConfig).json_schema()
    properties = {**found["properties"], "space": space_schema()}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found, "properties": properties}


def load_config(space: Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML file, a shipped space by its name, or values; apply `key=value` overrides, and check everything.

    Raises:
        UserError: the file or a field is wrong; names it, the rule and the value.
    """
    return parse_config(read_values(space_file(space) if isinstance(space, Path) else space, overrides))


def open_config(run_dir: Path) -> RunConfig:
    """Read the resolved configuration of a run directory.

    Raises:
        UserError: it is not one, or its configuration is damaged.
    """
    path = run_dir / _FILE
    if not path.exists():
        raise UserError(f"is not a run directory: it holds no {_FILE}", field=str(run_dir), nearest=_nearest(run_dir))
    with reading(path):
        return parse_config(as_it_was_written(read_mapping(path)))


def _nearest(run_dir: Path) -> str:
    """Name the run directory that was meant, those that are there, or what makes one."""
    places = (run_dir, run_dir.parent, Path("runs"))
    found = sorted({str(path.parent) for place in places for path in place.glob(f"*/{_FILE}")})
    close = difflib.get_close_matches(str(run_dir), found, n=1)
    more = ["..."] if len(found) > _MOST_NAMED else []
    return ", ".join(close or [*found[:_MOST_NAMED], *more]) or "flexsearch run SPACE makes one"


def resumed(config: RunConfig, run_dir: Path, *, storage: str | None) -> RunConfig:
    """Keep the sigma spacing of a run that is there already, so that its trials can be compared, and its database,
    unless another one is given; a new run takes that of FLEXSEARCH_STORAGE."""
    if not (run_dir / _FILE).exists():
        return replace(config, storage=storage or os.environ.get(VARIABLE) or config.storage)
    kept = open_config(run_dir)
    return replace(
        config,
        sampling=replace(config.sampling, spacing=kept.sampling.spacing),
        storage=storage or with_secrets(config.storage) or with_secrets(kept.storage),
    )


def parse_config(values: Mapping[str, Any]) -> RunConfig:
    """Check a configuration, its search space included."""
    config = checked(RunConfig, values)
    _ = config.search_space  # raises where a combination of choices could not be built
    _check_pixels(config)
    config.check_teacher_samples()
    config.sampling.check(config.shape)
    _check_dtype(config)
    _check_offload(config)
    if config.needs_data and not config.data.can_train:
        raise UserError(
            f"must be a data set, which trials are trained on, but got {config.data.name!r}; only a space whose "
            "segments are all dense, or without a warm start trial.updates=0 or teacher_samples, needs none",
            field="data.name",
            nearest="images",
        )
    if config.is_free and config.search.fine_tuned_dense:
        raise UserError(
            "must be false where nothing is trained, but got True", field="search.fine_tuned_dense", nearest="false"
        )
    _check_seeding(config)
    return config


def _check_seeding(config: RunConfig) -> None:
    """Check that there are weights on which amounts can be learned, and amounts."""
    if config.search.seed_from == "none":
        return
    searched = config.search_space.schedule_domains.values()
    if config.is_free or config.warm_start is None:
        lacks = "there is no warm start"
    elif all(len(corners(one)) == 1 for one in searched):
        lacks = "no field of space.segments or space.timetable is searched"
    else:
        return
    raise UserError(
        f"must be none where {lacks}, but got {config.search.seed_from!r}", field="search.seed_from", nearest="none"
    )


def _check_dtype(config: RunConfig) -> None:
    """Check that weights in half precision are only drawn from, and in that precision."""
    if config.base.dtype == "fp32":
        return
    if not config.is_free:
        raise UserError(
            "must be fp32, in which weights are trained; only a training-free space takes others",
            field="base.dtype",
            nearest="fp32",
        )
    if config.sampling.dtype != config.base.dtype:
        raise UserError(
            f"must be {config.base.dtype}, as base.dtype, but got {config.sampling.dtype}",
            field="sampling.dtype",
            nearest=config.base.dtype,
        )


def _check_offload(config: RunConfig) -> None:
    """Check that layers whose weights rest elsewhere are called alone, and as they are."""
    if config.base.offload is None:
        return
    for is_against, reason in (
        (not config.is_free, "weights are trained on the device; only a training-free space takes others"),
        (config.objectives.latency.compile, "objectives.latency.compile does not see that layers fetch their weights"),
        (config.search_space.narrows, "blocks of some width read parts of weights, not layers"),
    ):
        if is_against:
            raise UserError(f"must be null: {reason}", field="base.offload", nearest="null")


def _check_pixels(config: RunConfig) -> None:
    """Compare the sizes of pictures that the data, a base that draws pixels, and the extractor read."""
    if config.shape.in_channels not in PIXEL_CHANNELS:
        return
    side = config.shape.sample_size[-1]
    if config.data.name in ("images", "fashion_mnist") and config.data.size != side:
        raise UserError(
            f"must be {side}, which the base reads, but got {config.data.size}", field="data.size", nearest=side
        )
    sides = SIDES.get(config.objectives.quality.extractor, (side,))
    if side not in sides:
        raise UserError(
            f"{config.objectives.quality.extractor} reads images of {', '.join(map(str, sides))} pixels per side, but "
            f"the base draws {side}",
            field="objectives.quality.extractor",
            nearest=f"a base of {min(sides, key=lambda known: abs(known - side))}",
        )

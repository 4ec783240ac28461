"""The licence of a dense base, as far as it is declared: derived weights are under it."""

from pathlib import Path

import yaml
from huggingface_hub import try_to_load_from_cache

from flexsearch.models.architectures import architecture_named
from flexsearch.models.settings import BaseSettings
from flexsearch.paths import PREFIX, resolve_path

_CARD = "README.md"


def base_licence(base: BaseSettings) -> str | None:
    """Find the licence's identifier on the Hugging Face hub; None where the base declares none that is known here.

    Taken from the model card in the base's folder or in the hub's cache, else from what its publishers wrote there.
    """
    if base.checkpoint.startswith(PREFIX):
        return "apache-2.0"  # our own, see the package's assets
    folder = resolve_path(base.checkpoint)
    found = folder / _CARD if folder.is_dir() else try_to_load_from_cache(base.checkpoint, _CARD, base.revision)
    declared = _declared(Path(found)) if isinstance(found, str | Path) and Path(found).is_file() else None
    published = architecture_named(base.backbone, field="base.backbone").licences
    return declared or published.get(base.checkpoint)


def _declared(card: Path) -> str | None:
    """Read `license` in the front matter of a model card."""
    text = card.read_text(encoding="utf-8", errors="replace")
    if not text.startswith("---\n"):
        return None
    try:
        values = yaml.safe_load(text.split("\n---", 1)[0].removeprefix("---\n"))
    except yaml.YAMLError:
        return None  # a card that cannot be read declares nothing
    found = values.get("license") if isinstance(values, dict) else None
    return found if isinstance(found, str) else None

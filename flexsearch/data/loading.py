"""Loading of the training data that settings name."""

from pathlib import Path

from flexsearch.data.embedded import load_quickstart
from flexsearch.data.fashion_mnist import load_fashion_mnist
from flexsearch.data.latents import LatentFolder, LatentSet
from flexsearch.data.own_data import own_data
from flexsearch.data.pixel_folder import load_pixels
from flexsearch.data.settings import DataSettings
from flexsearch.data.shards import is_latent_folder
from flexsearch.data.source import DataSource
from flexsearch.errors import UserError


def load_data(settings: DataSettings) -> DataSource:
    """Load the training data.

    Raises:
        UserError: there are none, or they are missing or damaged; says how to get them.
    """
    if settings.function is not None:
        return own_data(settings.function)
    root = Path(settings.root).expanduser()
    match settings.name:
        case "none" | "captions":
            raise UserError(
                f"must be a data set to train on, but got {settings.name!r}",
                field="data.name",
                nearest="{name: images, root: FOLDER}",
            )
        case "quickstart":
            return load_quickstart()
        case "fashion_mnist":
            return load_fashion_mnist(root, split=settings.split, size=settings.size)
        case "images":
            return load_pixels(root, size=settings.size)
        case "latents" | "imagenet_latents":
            return LatentFolder(root) if is_latent_folder(root) else LatentSet(root)

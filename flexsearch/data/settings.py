"""Settings of the training data. Needs no torch."""

from typing import Literal

from flexsearch.settings import PositiveCount, settings


@settings
class DataSettings:
    """The training data.

    Attributes:
        name: "quickstart" (embedded), "fashion_mnist" (downloaded to `root`), "images" (one folder per class in `root`,
            kept in memory as pixels; grey images have one channel, if all are grey), or "latents" (the folder `root` of
            `flexsearch encode` or of fast-DiT; "imagenet_latents" means the same).
        root: folder of the data; not used by "quickstart".
        split: "train" or "test", of "fashion_mnist".
        size: pixels per side, of "fashion_mnist" and "images".
    """

    name: Literal["quickstart", "fashion_mnist", "images", "latents", "imagenet_latents"]
    root: str = "data"
    split: Literal["train", "test"] = "train"
    size: PositiveCount = 32

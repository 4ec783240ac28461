"""Settings of the training data. Needs no torch."""

from typing import Literal

from flexsearch.settings import PositiveCount, settings


@settings
class DataSettings:
    """The training data.

    Attributes:
        name: "quickstart" (embedded), "fashion_mnist" (downloaded to `root`), "images" (one folder per class in `root`,
            kept in memory as pixels; grey images have one channel, if all are grey), or "latents" (the folder `root` of
            `flexsearch encode` or of fast-DiT; "imagenet_latents" means the same). Where nothing is trained, "captions"
            (the file `root`, for a base that reads text) or "none" (for a base that reads class labels).
        root: folder of the data, or the file of captions, one a line; not used by "quickstart" and "none".
        split: "train" or "test", of "fashion_mnist".
        size: pixels per side, of "fashion_mnist" and "images".
    """

    name: Literal["none", "captions", "quickstart", "fashion_mnist", "images", "latents", "imagenet_latents"] = "none"
    root: str = "data"
    split: Literal["train", "test"] = "train"
    size: PositiveCount = 32

    @property
    def can_train(self) -> bool:
        """Whether there is anything to train on."""
        return self.name not in ("none", "captions")

    @property
    def is_shipped(self) -> bool:
        """Whether the data are in the package, and never change."""
        return self.name == "quickstart"

"""Settings of the training data. Needs no torch."""

from dataclasses import asdict
from typing import Any, Literal

from flexsearch.errors import UserError
from flexsearch.settings import PositiveCount, settings
from flexsearch.user_function import UserFunction


@settings
class DataSettings:
    """The training data.

    Attributes:
        name: "quickstart" (embedded), "fashion_mnist" (downloaded to `root`), "images" (one folder per class in `root`,
            kept in memory as pixels; grey images have one channel, if all are grey), or "latents" (the folder `root` of
            `flexsearch encode` or of fast-DiT; "imagenet_latents" means the same). Where nothing is trained, "captions"
            (the file `root`, for a base that reads text) or "none" (for a base that reads class labels).
        root: folder of the data, or the file of captions, one a line ("embedded:prompts.txt" has 200 that come with
            flexsearch); not used by "quickstart" and "none".
        split: "train" or "test", of "fashion_mnist".
        size: pixels per side, of "fashion_mnist" and "images".
        callable: in place of a name, a function of your own that gives the data, `package.module:function` or
            `file.py:function` (`data/own_data.py`).
    """

    name: Literal["none", "captions", "quickstart", "fashion_mnist", "images", "latents", "imagenet_latents"] = "none"
    root: str = "data"
    split: Literal["train", "test"] = "train"
    size: PositiveCount = 32
    callable: str | None = None

    def __post_init__(self) -> None:
        if self.function is not None and self.name != "none":
            raise UserError(f"takes the place of data.name, but got both, {self.name!r} too", field="data.callable")

    @property
    def function(self) -> UserFunction | None:
        """The function of the user's own."""
        return None if self.callable is None else UserFunction(where=self.callable, field="data.callable")

    @property
    def title(self) -> str:
        """What the data are called."""
        return self.callable or self.name

    @property
    def identity(self) -> dict[str, Any]:
        """Identify the data by how they are named, for digests; JSON values."""
        named = {name: value for name, value in asdict(self).items() if name != "callable"}
        return named if self.function is None else {**named, **self.function.identity}

    @property
    def can_train(self) -> bool:
        """Whether there is anything to train on."""
        return self.callable is not None or self.name not in ("none", "captions")

    @property
    def is_shipped(self) -> bool:
        """Whether the data are in the package, and never change."""
        return self.name == "quickstart"

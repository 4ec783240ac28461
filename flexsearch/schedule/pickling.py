"""Values that remember their hash."""

from typing import Any


class PickledWithoutHash:
    """Leave a remembered hash out of pickles and copies: those of strings differ from process to process."""

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_hash"}

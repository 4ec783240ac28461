"""Reading of image files in threads, one chunk ahead of the encoder."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from flexsearch.data.crop import read_cropped


def read_ahead(chunks: Iterable[Sequence[Path]], shape: tuple[int, int, int]) -> Iterator[Tensor]:
    """Read each chunk of files as cropped images (N, *shape) uint8, while the chunk before is encoded.

    Raises:
        UserError: a file is no image; names it.
    """
    with ThreadPoolExecutor() as readers:
        coming: list[Future[Tensor]] | None = None
        for chunk in chunks:
            ready, coming = coming, [readers.submit(read_cropped, path, shape) for path in chunk]
            if ready is not None:
                yield torch.stack([image.result() for image in ready])
        if coming is not None:
            yield torch.stack([image.result() for image in coming])

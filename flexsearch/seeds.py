"""Seeds of the items of a random sequence, so that batches, processes and resumed runs change no number."""

_STRIDE = 1_000_003  # a prime: sequences of neighbouring seeds do not overlap below as many items


def item_seed(seed: int, item: int) -> int:
    """Derive the seed of one item (an image, an update, a batch) from the seed of its sequence, in [0, 2^63)."""
    return (seed * _STRIDE + item) % 2**63

"""flexsearch: the token-density schedule of a diffusion transformer, found on measured time."""

__version__ = "0.1.0"

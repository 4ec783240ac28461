"""Keep freed memory in the process, where the C library is glibc.

By default glibc returns large blocks to the kernel at once, and every training step then pays for fresh pages: on two
cores a step of the quickstart's base was 1.3 times slower (experiments/LOG.md, 2026-11-23). Numbers do not change.
"""

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_ONE_GIB = 1 << 30


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks of up to 1 GiB; return whether it did."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(option, _ONE_GIB) == 1 for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))

"""Memory that is freed stays with the process, instead of going back to the system and being fetched again by pages."""

import ctypes

# Of mallopt, from <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_freed_memory():
    """From now on large arrays come from memory that the process has had before, where the C library is GNU's.

    It changes the whole process: for whoever runs to call, once.

    It maps whatever is larger than 32 MiB anew at every allocation, and the system clears each page of it. That was
    nearly a third of a meta-iteration of `ant_dir`, where each task needs such arrays at each product. The threshold
    can't be set higher, so that mapping is turned off. Other C libraries have no such call and are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no such function; no handle of the process, as on Windows
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)

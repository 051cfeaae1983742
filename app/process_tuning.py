"""Tunes OpenMP, malloc and the garbage collector of a process."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager


def share_the_machine() -> None:
    """Tune OpenMP and malloc for programs that share the machine with others. Must be called before torch is imported.

    OpenMP: idle threads busy-wait for some microseconds and then sleep. A longer busy-wait slows down the other
    programs on the machine; without any busy-wait, small networks are several times slower. If `GOMP_SPINCOUNT` is
    already set in the environment, its value is kept.

    malloc: the process keeps freed memory for the next step. By default, glibc returns large blocks to the system
    immediately and then requests them again page by page, which takes up to half of the time of a large batch. A
    program can release unused memory with `malloc_trim`. The measurements are in docs/log.md.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    if platform.libc_ver()[0] == "glibc":
        for option, value in _MALLOC:
            ctypes.CDLL(None).mallopt(option, value)


@contextmanager
def quick_imports() -> Iterator[None]:
    """Context manager that turns off Python's garbage collector while torch is imported.

    The import creates about a million objects, which the collector would scan many times. After the import, the objects
    are frozen, so that the collector does not scan them later or at exit.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def freeze_objects() -> None:
    """Exclude all objects of a program that has just started from garbage collections."""
    gc.collect()
    gc.freeze()


# Options of <malloc.h>. Blocks of up to MMAP_THRESHOLD bytes come from the heap. Some versions of glibc reject values
# above 32 MiB, so the value 32 MiB is set first, then 1 GiB. The heap keeps up to TRIM_THRESHOLD free bytes. All
# threads share one arena, because the heaps of further arenas have a small maximum size.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MALLOC = ((_M_MMAP_THRESHOLD, 1 << 25), (_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, 1 << 30), (_M_ARENA_MAX, 1))

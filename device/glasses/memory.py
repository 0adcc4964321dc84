"""How the C library hands out memory in a process that moves frames all day."""

from __future__ import annotations

import ctypes

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
"""Of glibc's malloc.h."""
OWN_PAGES_BYTES = 128 * 1024
"""From this size on a block gets pages of its own that go back when it is freed; glibc begins with it."""
ARENAS = 2
"""Heaps for all threads together; by itself glibc makes eight for each core."""


def keep_memory_flat() -> bool:
    """Let freed frames go back to the system; call it before threads begin.

    By itself glibc raises the threshold to the largest block ever freed. Frames then come from the heaps,
    between small things that stay, and the heaps keep what was freed: resident memory creeps up. Setting
    the threshold holds it still (mallopt(3)). False where the C library has no such settings (musl).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, OWN_PAGES_BYTES)) and bool(mallopt(M_ARENA_MAX, ARENAS))

"""Reports how much memory is free, so that the engine does not start work that needs more. Imports no torch."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")
RECLAIMABLE = ("inactive_file", "slab_reclaimable")  # parts of a control group's memory that the kernel can free


def free_memory() -> int:
    """The memory in bytes that this process can still use without swapping.

    Returns 0 if the system does not report the amount.
    """
    free = 0
    with suppress(OSError, ValueError):
        free = 1024 * _fields(MEMINFO.read_text()).get("MemAvailable", 0)
    with suppress(OSError, ValueError):  # there is no control group, or it has no limit ("max")
        limit, used = (int((GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        fields = _fields((GROUP / "memory.stat").read_text())
        free = min(free, limit - used + sum(fields.get(name, 0) for name in RECLAIMABLE))
    return max(0, free)


def _fields(text: str) -> dict[str, int]:
    pairs = (line.replace(":", "").split()[:2] for line in text.splitlines() if line.strip())
    return {name: int(value) for name, value in pairs}

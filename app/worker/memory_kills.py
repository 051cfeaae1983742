"""Counts the processes that the system has killed for lack of memory. Linux only; elsewhere the count is 0."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

# files with the counts of the machine and of the container
SOURCES = (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events"))
NAME = "oom_kill"


def count() -> int:
    """Return the number of processes killed so far: the machine's count plus the container's."""
    kills = 0
    for path in SOURCES:
        with suppress(OSError, ValueError):
            lines = (line.split() for line in path.read_text().splitlines())
            kills += sum(int(value) for name, value in lines if name == NAME)
    return kills


class KillWatch:
    """Detects whether processes were killed for lack of memory shortly before the watched process ended.

    Ignores earlier kills.
    """

    def __init__(self) -> None:
        self._earlier = self._latest = count()

    def look(self, running: bool) -> None:
        """Update the count if the process is still running. Must be called regularly."""
        if running:  # keep the previous count too, because a killed process takes a moment to end
            self._earlier, self._latest = self._latest, count()

    def noticed(self) -> bool:
        """Whether a process was killed since the second-to-last call of `look` with `running` true."""
        return count() > self._earlier

"""The priority of the programs that workers start."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

NICENESS = 10  # engines and APIs on the same machine get processor time first


def lower() -> None:
    """Raise the niceness of this process and of its session. (Linux divides CPU time among sessions first.)"""
    os.nice(NICENESS)
    if os.getsid(0) == os.getpid():  # otherwise, the session belongs to a terminal, and is not changed
        with contextlib.suppress(OSError):  # the kernel may not support autogroups
            Path("/proc/self/autogroup").write_text(str(NICENESS))

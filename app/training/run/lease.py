"""The trainer's right to live: renewals on standard input.

Any line renews. The end of the input (the worker died) or silence for the lease time (the worker is frozen, or cut off
from the database) ends the process at once: its job may be another's already. Resume points make that harmless.
Knows nothing of the training.
"""

from __future__ import annotations

import os
import select
import threading
import time

EXIT_CODE = 75  # EX_TEMPFAIL: nothing was wrong with the training


def watch(descriptor: int, seconds: float) -> threading.Thread:
    """Start watching; `seconds` 0 watches for nothing (a run by hand)."""
    thread = threading.Thread(target=_watch, args=(descriptor, seconds), name="lease", daemon=True)
    if seconds > 0:
        thread.start()
    return thread


def _watch(descriptor: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        ready, _, _ = select.select([descriptor], [], [], left)
        if not ready:
            continue
        if not os.read(descriptor, 65_536):
            break
        end = time.monotonic() + seconds
    os._exit(EXIT_CODE)

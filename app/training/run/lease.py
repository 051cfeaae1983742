"""The trainer's end of the lease: it exits when renewals on standard input stop.

Any line renews the lease. The process exits at once at the end of the input (the worker died), or without a renewal for
the lease time (the worker is frozen, or cut off from the database), because another worker may hold the job by then.
Resume points keep the loss small.
"""

from __future__ import annotations

import os
import select
import threading
import time

EXIT_CODE = 75  # EX_TEMPFAIL: the training itself did not fail


def watch(descriptor: int, seconds: float) -> threading.Thread:
    """Watch a file descriptor in a daemon thread; with `seconds` 0, as for a trainer started by hand, not at all."""
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
            break  # end of the input
        end = time.monotonic() + seconds
    # Not sys.exit: the main thread must not get to write anything more.
    os._exit(EXIT_CODE)

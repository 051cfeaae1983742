"""The trainer's side of the lease: the trainer exits when renewals on standard input stop.

Any input renews the lease. The process exits immediately at the end of the input, which means that the worker has
exited. The process also exits if the lease expires without a renewal, which means that the worker is unresponsive or
cannot reach the database. In both cases, another worker may already have claimed the job and continued it from the last
resume point.
"""

from __future__ import annotations

import os
import select
import threading
import time

EXIT_CODE = 75  # EX_TEMPFAIL: the training run itself did not fail


def watch(descriptor: int, seconds: float) -> threading.Thread:
    """Watch a file descriptor in a daemon thread.

    Has no effect if `seconds` is 0, as when the trainer is started by hand.
    """
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
    # sys.exit would end only this thread, but the main thread must also stop writing.
    os._exit(EXIT_CODE)

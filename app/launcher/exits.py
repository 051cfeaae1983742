"""Waits for a child process to exit, without using a thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess

POLL = 0.05  # seconds between two checks of a child, on systems that cannot wait for a process in an event loop


async def exit_of(process: subprocess.Popen[bytes]) -> int:
    """Wait until the process exits, and return its exit status.

    On Linux, a process descriptor becomes readable when the process exits, so waiting uses no CPU time.
    """
    if process.poll() is None:
        with contextlib.suppress(AttributeError, OSError):  # not Linux, an old kernel, or no free file descriptor
            await _readable(os.pidfd_open(process.pid))
    while (code := process.poll()) is None:  # noqa: ASYNC110
        await asyncio.sleep(POLL)
    return code


async def _readable(descriptor: int) -> None:
    """Wait until a file descriptor is readable, and close it."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)

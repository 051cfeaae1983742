"""Decides whether an engine is alive, based on its heartbeats and its process."""

from __future__ import annotations

import asyncio
import time

from app.launcher import programs
from app.wire import engine as wire

HEARTBEAT_LIMIT = 1.0  # seconds of silence after which an engine receives no new requests
FROZEN_LIMIT = 10.0  # seconds of silence after which an engine counts as dead even if its process exists


class Liveness:
    """An engine's newest heartbeat, and its age.

    An engine whose heartbeats are overdue is `silent` at first, because a busy machine can delay heartbeats. An engine
    is dead once its process has exited, or after `FROZEN_LIMIT` seconds of silence. The event `decided` is set unless
    the engine is silent, so tasks can wait until the engine is known to be alive or dead.
    """

    def __init__(self) -> None:
        self.heartbeat: wire.Heartbeat | None = None
        self.silent = False
        self.decided = asyncio.Event()
        self._seen = 0.0

    @property
    def instance(self) -> str:
        """The identity of the engine process. Empty until the first heartbeat."""
        return self.heartbeat.instance if self.heartbeat else ""

    @property
    def overdue(self) -> bool:
        """Whether the last heartbeat is older than `HEARTBEAT_LIMIT`."""
        return time.monotonic() - self._seen > HEARTBEAT_LIMIT

    def hear(self, heartbeat: wire.Heartbeat) -> None:
        """Record a heartbeat."""
        self._seen, self.silent, self.heartbeat = time.monotonic(), False, heartbeat
        self.decided.set()

    def excuse(self) -> None:
        """Allow the engine at least half of `HEARTBEAT_LIMIT` from now for its next heartbeat.

        Called after the event loop was blocked and could not read heartbeats.
        """
        self._seen = max(self._seen, time.monotonic() - HEARTBEAT_LIMIT / 2)

    def dead(self) -> bool:
        """Update `silent` from the time since the last heartbeat, and return whether the engine is considered dead."""
        silence = time.monotonic() - self._seen
        self.silent = silence > HEARTBEAT_LIMIT
        if not self.silent:
            return False
        self.decided.clear()
        return silence > FROZEN_LIMIT or not self._process_exists()

    def _process_exists(self) -> bool:
        """Whether the engine's process exists.

        The engine's process id is valid on this machine, because the engine's sockets are local.
        """
        return self.heartbeat is not None and programs.alive(self.heartbeat.pid)

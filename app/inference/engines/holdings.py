"""Uses an engine's messages and heartbeats to track the versions that it has loaded."""

from __future__ import annotations

import time
from collections.abc import Iterable

SETTLING = 1.0  # the maximum number of seconds by which a heartbeat may be older than a message that arrived before it


class Holdings:
    """The digests of the versions loaded in one engine.

    Messages and heartbeats arrive over two sockets, in no defined order. A heartbeat therefore overrides a message
    about a version only if the message is more than `SETTLING` seconds old.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, float] = {}  # digest -> when this process learnt that the version is loaded
        self._unloaded: dict[str, float] = {}  # digest -> when this process learnt that the version is no longer loaded

    def __contains__(self, digest: str) -> bool:
        return digest in self._loaded

    def add(self, digest: str) -> None:
        """Record a message that reports the version as loaded."""
        self._loaded[digest] = time.monotonic()
        self._unloaded.pop(digest, None)

    def discard(self, digest: str) -> None:
        """Record a message that reports the version as no longer loaded."""
        self._loaded.pop(digest, None)
        self._unloaded[digest] = time.monotonic()

    def update(self, digests: Iterable[str]) -> None:
        """Record a heartbeat, which lists the loaded versions."""
        now = time.monotonic()
        self._unloaded = {d: t for d, t in self._unloaded.items() if now - t < SETTLING}
        present = set(digests) - self._unloaded.keys()
        self._loaded = {d: t for d, t in self._loaded.items() if d in present or now - t < SETTLING}
        for digest in present:
            self._loaded.setdefault(digest, now - SETTLING)

    def clear(self) -> None:
        """Remove all versions, because the engine has died."""
        self._loaded.clear()
        self._unloaded.clear()

"""Limits the number of clients that follow jobs at the same time."""

from __future__ import annotations

from collections import Counter

from app.errors import Overloaded

RETRY_SECONDS = 5.0


class FollowerLimit:
    """Counts the clients that follow jobs. Must be called on the event loop.

    Allows at most `limit` clients, and at most half as many with the same key.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._followers: Counter[str] = Counter()  # principal -> its number of clients

    @property
    def used(self) -> int:
        return self._followers.total()

    def take(self, principal: str) -> None:
        """Count one more client. Raises Overloaded if there are too many clients."""
        if self.used >= self.limit or self._followers[principal] >= max(1, self.limit // 2):
            raise Overloaded(
                f"too many clients are following jobs: {self.used} in total, {self._followers[principal]} of them with "
                "this key; try again later, or list the events instead",
                code="too_many_followers",
                retry_after=RETRY_SECONDS,
            )
        self._followers[principal] += 1

    def leave(self, principal: str) -> None:
        self._followers[principal] -= 1
        if not self._followers[principal]:
            del self._followers[principal]

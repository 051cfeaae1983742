"""Limits the number of clients that follow jobs at the same time."""

from __future__ import annotations

from app.errors import Overloaded

RETRY_SECONDS = 5.0


class FollowerLimit:
    """Counts the clients that follow jobs, and rejects more than `limit`. Must be called on the event loop."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0

    def take(self) -> None:
        """Count one more client. Raises Overloaded if there are too many."""
        if self.used >= self.limit:
            raise Overloaded(
                f"{self.limit} clients already follow jobs; try again later, or read the list of events",
                code="too_many_followers",
                retry_after=RETRY_SECONDS,
            )
        self.used += 1

    def leave(self) -> None:
        self.used -= 1

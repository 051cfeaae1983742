"""A limited number of places, such as those of the clients that may follow jobs at the same time."""

from __future__ import annotations

from app.errors import Overloaded

RETRY_SECONDS = 5.0


class Places:
    """Counts what is in use, and refuses more than `limit`. Not thread-safe: call it on the event loop."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0

    def take(self) -> None:
        """Take a place. Raises Overloaded if there is none."""
        if self.used >= self.limit:
            raise Overloaded(
                f"{self.limit} clients follow jobs already; try again later, or read the list of events",
                code="too_many_followers",
                retry_after=RETRY_SECONDS,
            )
        self.used += 1

    def leave(self) -> None:
        self.used -= 1

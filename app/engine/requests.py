"""Tracks the open requests of one scorer or decoder: their peers, ids, deadlines and failures. Imports no torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from app.engine.reply import Counters, Reply, fail
from app.wire.engine import Embed, Generate, Score

INVALID, TOO_LONG = "invalid_request", "context_length_exceeded"
NEVER = float("inf")


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A version whose requests a scorer or decoder answers. Versions with a common base share these parts.

    `loaded` is the version's `LoadedNetwork` if the part is shared.
    """

    digest: str
    counters: Counters
    eos_id: int | None = None
    loaded: Any = None


class OpenRequest(Protocol):
    """The attributes of a request that `OpenRequests` uses.

    `closed` is true once the final message is being sent or the peer has disconnected.
    """

    peer: bytes
    id: str
    request_id: str
    deadline: float | None  # a time of the monotonic clock, which all programs on a machine share
    closed: bool
    member: Member


R = TypeVar("R", bound=OpenRequest)


class OpenRequests(Generic[R]):
    """The requests whose final message has not been sent yet.

    A closed request may still have queued rows or a slot. `expire` and `forget` return the requests that they have
    closed, so that the caller can free the rows or slots of all these requests in one pass.
    """

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self._requests: dict[tuple[bytes, str], R] = {}
        self._next_deadline = NEVER  # a lower bound of all deadlines: closing a request does not raise it

    def __len__(self) -> int:
        return len(self._requests)

    def values(self) -> list[R]:
        """Return a snapshot of the open requests. Safe to call from another thread."""
        return list(self._requests.values())

    def get(self, peer: bytes, id: str) -> R | None:
        return self._requests.get((peer, id))

    def refuse(
        self, peer: bytes, message: Score | Embed | Generate, problem: tuple[str, str] | None, member: Member
    ) -> bool:
        """Reject a message if it has a `problem` (code, text) or the id of an open request.

        Return whether it was rejected.
        """
        if problem is None and (peer, message.id) in self._requests:
            problem = INVALID, "a request with this id is already open"
        if problem is None:
            return False
        fail(self.reply, member.counters, peer, message.id, *problem, message.request_id)
        return True

    def add(self, request: R) -> None:
        """Add a request that `refuse` did not reject."""
        self._requests[request.peer, request.id] = request
        if request.deadline is not None:
            self._next_deadline = min(self._next_deadline, request.deadline)

    def close(self, request: R) -> None:
        """Remove a request. The caller must send the request's final message."""
        request.closed = True
        del self._requests[request.peer, request.id]

    def fail(self, request: R, code: str, message: str) -> None:
        """Close a request with Failed as its final message."""
        self.close(request)
        fail(self.reply, request.member.counters, request.peer, request.id, code, message, request.request_id)

    def expire(self) -> list[R]:
        """Fail the requests whose deadline has passed. Scans open requests only when a deadline may have passed."""
        now = time.monotonic()
        if now < self._next_deadline:
            return []
        late = [r for r in self._requests.values() if r.deadline is not None and r.deadline <= now]
        for request in late:
            self.fail(request, "deadline_exceeded", "the deadline passed before the answer was complete")
        deadlines = (r.deadline for r in self._requests.values() if r.deadline is not None)
        self._next_deadline = min(deadlines, default=NEVER)
        return late

    def forget(self, gone: Callable[[bytes], bool]) -> list[R]:
        """Close the requests of disconnected peers, without sending a message."""
        orphans = [r for r in self._requests.values() if gone(r.peer)]
        for request in orphans:
            self.close(request)
            request.member.counters.add("aborted")
        return orphans

    def fail_all(self, code: str, message: str) -> None:
        """Fail every open request. Closes all of them before sending, so that none stays open if sending fails."""
        requests, self._requests = self._requests, {}
        for request in requests.values():
            request.closed = True
        for request in requests.values():
            fail(self.reply, request.member.counters, request.peer, request.id, code, message, request.request_id)

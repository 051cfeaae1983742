"""The door of one engine: many requests at once, and suspects one by one. Knows no request.

A suspect takes its turn; the door is closed behind it for a while, then the others may come in too. The turn goes to
the next suspect when the trial is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.errors import Unavailable

TURN_PATIENCE = 30.0  # seconds that a suspect waits for those before it


class Gate:
    """`enter` … `leave` around every request; `turn` and, within it, `trial` around a suspect."""

    def __init__(self, patience: float = TURN_PATIENCE) -> None:
        self.inside = 0
        self._patience = patience
        self._closed = False
        self._waiting: list[asyncio.Future[None]] = []
        self._turn = asyncio.Lock()  # suspects, one after the other
        self._empty = asyncio.Event()
        self._empty.set()

    async def enter(self) -> None:
        if self._closed:
            place = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place  # `open` counts us in, so that the next suspect cannot slip in before us
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self.leave()
                raise
        else:
            self.let_in()

    def let_in(self) -> None:
        self.inside += 1
        self._empty.clear()

    def leave(self) -> None:
        self.inside -= 1
        if self.inside == 0:
            self._empty.set()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Trial]:
        """The only suspect at the door. Raises Unavailable where those before it take too long."""
        try:
            async with asyncio.timeout(self._patience):
                await self._turn.acquire()
        except TimeoutError:
            raise Unavailable(
                "this request was open when the engine failed, so it waits for its turn, and others are before it",
                code="held_back",
                retry_after=5.0,
            ) from None
        trial = Trial(self)
        try:
            yield trial
        finally:
            trial.over()

    async def close(self, patience: float) -> None:
        """Let nobody in, and wait until those inside have left; for so many seconds at most."""
        self._closed = True
        try:
            async with asyncio.timeout(patience):
                await self._empty.wait()
        except TimeoutError:
            pass  # they go on beside the suspect: better than that nobody may come in for as long as they take

    def open(self) -> None:
        self._closed = False
        waiting, self._waiting = self._waiting, []
        for place in waiting:
            if not place.done():
                self.let_in()
                place.set_result(None)

    def pass_turn(self) -> None:
        self._turn.release()


class Trial:
    """A suspect's turn. It ends once, by whoever calls `over` first."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._closed, self._ended = False, False

    @asynccontextmanager
    async def alone(self, seconds: float, exclusive: bool) -> AsyncIterator[None]:
        """Inside, for `seconds` without newcomers; after that, `exclusive`: still without other suspects.

        Those inside are waited for as long at most; one of a crowd does not wait, for its fellows go on.
        """
        self._closed = True
        await self._gate.close(seconds if exclusive else 0.0)
        self._gate.let_in()
        timer = asyncio.get_running_loop().call_later(seconds, self.admit_others if exclusive else self.over)
        try:
            yield
        finally:
            timer.cancel()
            self._gate.leave()

    def admit_others(self) -> None:
        if self._closed:
            self._closed = False
            self._gate.open()

    def over(self) -> None:
        self.admit_others()
        if not self._ended:
            self._ended = True
            self._gate.pass_turn()

"""An engine's gate: admits many ordinary requests at once, but only one suspect at a time.

During the first part of a suspect's turn, the gate is closed to all other requests. The next suspect's turn begins when
that turn has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.errors import Unavailable

TURN_PATIENCE = 30.0  # the maximum number of seconds that a suspect waits for its turn


class Gate:
    """Counts admitted requests, and separates suspects from ordinary requests and from each other.

    An ordinary request calls `enter` and `leave`. A suspect enters the context `turn` and, inside it, the context
    `SuspectTurn.alone`.
    """

    def __init__(self, patience: float = TURN_PATIENCE) -> None:
        self.inside = 0
        self._patience = patience
        self._closed = False
        self._waiting: list[asyncio.Future[None]] = []
        self._turn = asyncio.Lock()  # held by the suspect whose turn it is
        self._empty = asyncio.Event()
        self._empty.set()

    async def enter(self) -> None:
        """Enter the gate. If it is closed, wait until it opens."""
        if self._closed:
            place = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place  # `open` counts this request as inside, so no suspect can enter before this task wakes up
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self.leave()
                raise
        else:
            self.let_in()

    def let_in(self) -> None:
        """Count a request as admitted immediately, even if the gate is closed."""
        self.inside += 1
        self._empty.clear()

    def leave(self) -> None:
        self.inside -= 1
        if self.inside == 0:
            self._empty.set()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[SuspectTurn]:
        """Wait for a suspect's turn. Raises Unavailable (`held_back`) if earlier suspects take too long."""
        try:
            async with asyncio.timeout(self._patience):
                await self._turn.acquire()
        except TimeoutError:
            raise Unavailable(
                "this request was open when the engine failed, so it must wait until other such requests have been "
                "processed; try again later",
                code="held_back",
                retry_after=5.0,
            ) from None
        turn = SuspectTurn(self)
        try:
            yield turn
        finally:
            turn.end()

    async def close(self, patience: float) -> None:
        """Close the gate, and wait up to `patience` seconds for the requests inside to leave."""
        self._closed = True
        try:
            async with asyncio.timeout(patience):
                await self._empty.wait()
        except TimeoutError:
            pass  # the requests inside run alongside the suspect: waiting longer would block all new requests

    def open(self) -> None:
        """Open the gate, and count all waiting requests as admitted before any of their tasks resume."""
        self._closed = False
        waiting, self._waiting = self._waiting, []
        for place in waiting:
            if not place.done():
                self.let_in()
                place.set_result(None)

    def pass_turn(self) -> None:
        """Give the next suspect its turn."""
        self._turn.release()


class SuspectTurn:
    """A suspect's turn at the gate. The turn ends with the first call to `end`."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._closed, self._ended = False, False

    @asynccontextmanager
    async def alone(self, seconds: float, exclusive: bool) -> AsyncIterator[None]:
        """Enter the gate, and block new requests for `seconds`.

        If `exclusive` is true, other suspects are blocked until the turn ends. An exclusive turn first waits up to
        `seconds` for the open requests to finish. Other turns do not wait, and end after `seconds`, so that a large
        group of suspects soon runs in parallel.
        """
        self._closed = True
        await self._gate.close(seconds if exclusive else 0.0)
        self._gate.let_in()
        timer = asyncio.get_running_loop().call_later(seconds, self.admit_others if exclusive else self.end)
        try:
            yield
        finally:
            timer.cancel()
            self._gate.leave()

    def admit_others(self) -> None:
        """Open the gate to ordinary requests."""
        if self._closed:
            self._closed = False
            self._gate.open()

    def end(self) -> None:
        """Open the gate, and pass the turn to the next suspect."""
        self.admit_others()
        if not self._ended:
            self._ended = True
            self._gate.pass_turn()

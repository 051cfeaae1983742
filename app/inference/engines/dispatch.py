"""Sends requests to an engine through its gate. Suspects (see `quarantine`) are sent separately."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from app.inference.engines.client import EngineClient
from app.inference.engines.gate import SuspectTurn
from app.inference.engines.quarantine import Quarantine, Suspicion
from app.inference.engines.work import Work


def dispatch(client: EngineClient, work: Work, quarantine: Quarantine) -> AbstractAsyncContextManager[None]:
    """Context manager that sends `work`. On exit, aborts the requests that are still open.

    Raises InvalidRequest for convicted work, and Unavailable if the engine has died or a suspect waits too long.
    """
    if work.trusted or quarantine.suspicion(work.requests) is None:
        return _AmongOthers(client, work)
    return _in_turn(client, work, quarantine)


class _AmongOthers:
    """Sends work that runs concurrently with other work.

    This is a class, because generator-based context managers are several times slower.
    """

    __slots__ = ("_client", "_work")

    def __init__(self, client: EngineClient, work: Work) -> None:
        self._client, self._work = client, work

    async def __aenter__(self) -> None:
        await self._client.gate.enter()
        try:
            self._client.send(self._work)
        except BaseException:
            self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        try:
            self._client.abort(self._work)
        finally:
            self._client.gate.leave()


@asynccontextmanager
async def _in_turn(client: EngineClient, work: Work, quarantine: Quarantine) -> AsyncIterator[None]:
    async with client.gate.turn() as turn:
        # Look up the work again: while it waited for its turn, an identical request may have been cleared or convicted.
        suspect = quarantine.suspicion(work.requests)
        if suspect is None:
            turn.end()
            async with _AmongOthers(client, work):
                yield
            return
        async with _as_suspect(client, work, turn, *suspect, quarantine):
            yield


@asynccontextmanager
async def _as_suspect(
    client: EngineClient, work: Work, turn: SuspectTurn, mark: bytes, suspicion: Suspicion, quarantine: Quarantine
) -> AsyncIterator[None]:
    def acquit() -> None:
        quarantine.clear(mark)
        turn.end()

    work.milestone, work.reached = suspicion.answers + 1, acquit
    async with turn.alone(suspicion.alone_seconds, suspicion.exclusive):
        try:
            client.send(work)
            yield
            if not work.open and not work.failed:
                acquit()
        finally:
            client.abort(work)

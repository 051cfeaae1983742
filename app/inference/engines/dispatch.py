"""Sends requests to an engine through its gate. Suspects (see `quarantine`) are sent separately."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.inference.engines.client import EngineClient
from app.inference.engines.gate import Trial
from app.inference.engines.quarantine import Quarantine, Suspicion
from app.inference.engines.work import Work


@asynccontextmanager
async def dispatch(client: EngineClient, work: Work, quarantine: Quarantine) -> AsyncIterator[None]:
    """Send `work`. On exit, abort the requests that are still open.

    Raises InvalidRequest for convicted work, and Unavailable if the engine is gone or a suspect waits too long.
    """
    if work.trusted or quarantine.suspicion(work.requests) is None:
        async with _among_others(client, work):
            yield
        return
    async with client.gate.turn() as trial:
        # Look up the work again: while it waited for its turn, an identical request may have been cleared or convicted.
        suspect = quarantine.suspicion(work.requests)
        if suspect is None:
            trial.end()
            async with _among_others(client, work):
                yield
            return
        async with _on_trial(client, work, trial, *suspect, quarantine):
            yield


@asynccontextmanager
async def _among_others(client: EngineClient, work: Work) -> AsyncIterator[None]:
    await client.gate.enter()
    try:
        client.send(work)
        yield
    finally:
        try:
            client.abort(work)
        finally:
            client.gate.leave()


@asynccontextmanager
async def _on_trial(
    client: EngineClient, work: Work, trial: Trial, mark: bytes, suspicion: Suspicion, quarantine: Quarantine
) -> AsyncIterator[None]:
    def acquit() -> None:
        quarantine.clear(mark)
        trial.end()

    work.milestone, work.reached = suspicion.answers + 1, acquit
    async with trial.alone(suspicion.alone_seconds, suspicion.exclusive):
        try:
            client.send(work)
            yield
            if not work.open and not work.failed:
                acquit()
        finally:
            client.abort(work)

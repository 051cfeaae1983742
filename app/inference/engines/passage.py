"""The way of one piece of work through an engine's gate and back. Knows suspects; knows no text and no deadline."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.inference.engines.client import EngineClient, Work
from app.inference.engines.gate import Trial
from app.inference.engines.quarantine import Quarantine, Suspicion


@asynccontextmanager
async def sent(client: EngineClient, work: Work, quarantine: Quarantine) -> AsyncIterator[None]:
    """Send it, apart from others where it is suspected; whatever is still open at the end is aborted."""
    if work.trusted or quarantine.suspicion(work.requests) is None:
        async with _among_others(client, work):
            yield
        return
    async with client.gate.turn() as trial:
        found = quarantine.suspicion(work.requests)  # an equal one before it may have settled the matter
        if found is None:
            trial.over()
            async with _among_others(client, work):
                yield
            return
        async with _on_trial(client, work, trial, *found, quarantine):
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
        quarantine.cleared(mark)
        trial.over()

    work.milestone, work.reached = suspicion.answers + 1, acquit
    async with trial.alone(suspicion.alone_seconds, suspicion.exclusive):
        try:
            client.send(work)
            yield
            if not work.open and not work.failed:
                acquit()
        finally:
            client.abort(work)

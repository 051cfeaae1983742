"""What every route can reach: the services of this process, built once at its start.

Knows how they are put together; knows no route.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.db.database import Database
from app.files.service import Files
from app.inference.readiness import Readiness
from app.inference.service import Inference
from app.jobs.service import Jobs
from app.registry.service import Registry
from app.settings import Settings
from app.storage.blobs import BlobStore
from app.storage.local_cache import LocalCache


@dataclass(frozen=True)
class Services:
    settings: Settings
    database: Database
    registry: Registry
    files: Files
    jobs: Jobs
    inference: Inference
    readiness: Readiness

    async def start(self) -> None:
        """Belongs to the event loop that serves the requests."""
        await self.inference.start()
        self.readiness.start()

    async def close(self) -> None:
        await self.readiness.close()
        await self.inference.close()
        await asyncio.to_thread(self.database.close)


def build(settings: Settings) -> Services:
    """Everything from the settings; nothing is started and nobody is asked yet."""
    database = Database(settings.database)
    blobs = BlobStore(settings.storage)
    registry = Registry(database, blobs, grace_seconds=settings.delete_grace_seconds)
    files = Files(database, blobs)
    inference = Inference(settings, registry.resolve, LocalCache(settings.data / "cache", blobs, settings.cache_bytes))
    return Services(
        settings=settings,
        database=database,
        registry=registry,
        files=files,
        jobs=Jobs(database, registry, files),
        inference=inference,
        readiness=Readiness(database.ping, registry, inference),
    )


def context_of(request: Request) -> Services:
    context: Services = request.app.state.context
    return context


async def _services(request: Request) -> Services:
    """A plain function would be called in a thread, and wait for one where blocking routes have taken all."""
    return context_of(request)


ServicesDep = Annotated[Services, Depends(_services)]

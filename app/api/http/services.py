"""The services that the routes call, built once when an API process starts."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from app.api.http.audit import AuditTrail
from app.api.http.followers import FollowerLimit
from app.api.http.freed_memory import FreedMemory
from app.api.http.traffic_sampler import TrafficSampler
from app.db.changes import Changes, Remembered
from app.db.database import Database
from app.files.preview import Previews
from app.files.service import Files
from app.inference.readiness import Readiness
from app.inference.service import Inference
from app.jobs.batches import Batches
from app.jobs.estimates import Estimates
from app.jobs.evaluations import Evaluations
from app.jobs.service import Jobs
from app.rates import Rates
from app.registry.probes import Probes
from app.registry.records import Alias
from app.registry.service import Registry
from app.settings import Settings
from app.storage.blobs import BlobStore
from app.storage.local_cache import LocalCache
from app.traffic import TrafficRing
from app.webhooks.sender import Sender
from app.webhooks.service import Webhooks

MOST_FOLLOWERS = 200  # clients that may follow jobs at the same time; each costs several database checks per second


@dataclass(frozen=True)
class Services:
    """The services of one API process, and its settings."""

    settings: Settings
    database: Database
    registry: Registry
    probes: Probes
    files: Files
    previews: Previews
    jobs: Jobs
    estimates: Estimates
    evaluations: Evaluations
    batches: Batches
    webhooks: Webhooks
    inference: Inference
    readiness: Readiness
    changes: Changes
    audit: AuditTrail
    rates: Rates
    traffic: TrafficSampler
    freed_memory: FreedMemory = field(default_factory=FreedMemory)
    followers: FollowerLimit = field(default_factory=lambda: FollowerLimit(MOST_FOLLOWERS))

    async def start(self) -> None:
        """Start the services that run on the event loop. Must be called on the event loop that serves requests."""
        await self.inference.start()
        self.readiness.start()
        self.freed_memory.start()
        self.traffic.start()
        self.audit.start()

    async def close(self) -> None:
        """Stop the services, whether `start` has started them or not, and close the database."""
        self.estimates.close()
        await self.traffic.close()
        await self.freed_memory.close()
        await self.audit.close()
        await self.readiness.close()
        await self.inference.close()
        await asyncio.to_thread(self.database.close)
        self.changes.close()
        self.rates.close()


class _Catalogue:
    """A cache of the registry data that readiness checks use.

    The data is refreshed only when the database has changed.
    """

    def __init__(self, registry: Registry, changes: Changes) -> None:
        self._aliases = Remembered(registry.required_aliases, changes.mark)
        self._registered = Remembered(registry.registered, changes.mark)

    def required_aliases(self) -> Sequence[Alias]:
        return self._aliases()

    def registered(self, digests: Collection[str]) -> Collection[str]:
        return self._registered(frozenset(digests))


def build_services(settings: Settings, *, background: bool = False) -> Services:
    """Create the services without opening any connection.

    With `background`, engines answer the inference requests of other processes first.
    """
    database, quotas = Database(settings.database), settings.quotas
    blobs = BlobStore(settings.storage, settings.scratch_dir)
    grace = settings.delete_grace_seconds
    registry = Registry(database, blobs, settings.scratch_dir, grace_seconds=grace, quotas=quotas)
    files = Files(database, blobs, quotas)
    rates = Rates(quotas, settings.run_dir)
    changes = Changes(database)
    cache = LocalCache(settings.data / "cache", blobs, settings.cache_bytes)
    probes = Probes(database, blobs)
    resolve = Remembered(registry.resolve, changes.mark)
    inference = Inference(settings, resolve, cache, probes.load, rates, background=background)
    return Services(
        settings=settings,
        database=database,
        registry=registry,
        probes=probes,
        files=files,
        previews=Previews(files, settings.scratch_dir / "previews"),
        jobs=Jobs(database, registry, files, memory=settings.training_memory * 2**20, quotas=quotas),
        estimates=Estimates(settings, database, registry, files, blobs, cache),
        evaluations=Evaluations(database, registry, files, quotas),
        batches=Batches(database, registry, files, quotas),
        webhooks=_webhooks(settings, database),
        inference=inference,
        readiness=Readiness(database.ping, _Catalogue(registry, changes), inference),
        changes=changes,
        audit=AuditTrail(database),
        rates=rates,
        traffic=TrafficSampler(inference, TrafficRing(settings.run_dir / "traffic")),
    )


def _webhooks(settings: Settings, database: Database) -> Webhooks:
    networks = settings.networks
    sender = Sender(networks, settings.webhook_timeout)
    return Webhooks(database, sender, networks, settings.max_webhook_endpoints, frozenset(settings.keys.values()))


def services_of(request: Request) -> Services:
    """The services of the process that handles the request."""
    services: Services = request.app.state.services
    return services


async def _services(request: Request) -> Services:
    # This is `async` because FastAPI calls a plain function in a worker thread. If blocking routes occupied all worker
    # threads, this dependency would have to wait for a free thread.
    return services_of(request)


ServicesDep = Annotated[Services, Depends(_services)]

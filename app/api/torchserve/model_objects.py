"""Models and versions in the format of TorchServe's management API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from app.inference.engines.pool import EnginePool
from app.registry.records import Version


class ModelEntry(msgspec.Struct, frozen=True, rename="camel"):
    """A model in a list. `modelUrl` is the reference of the newest version."""

    model_name: str
    model_url: str


class ModelPage(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A page of models. To get the next page, send `nextPageToken` as `next_page_token`."""

    models: list[ModelEntry]
    next_page_token: str | None = None


class ServingEngine(msgspec.Struct, frozen=True, rename="camel"):
    """An engine that has loaded the version, in TorchServe's format for workers. `memoryUsage` is in bytes."""

    id: str
    status: str
    memory_usage: int
    pid: int
    gpu: bool


class JobQueueStatus(msgspec.Struct, frozen=True, rename="camel"):
    """The number of requests that are waiting for the version."""

    pending_requests: int


class ModelDescription(msgspec.Struct, frozen=True, rename="camel"):
    """A version.

    `modelUrl` is the version's reference. TorchServe's own descriptions do not have `task` and the fields after it.
    """

    model_name: str
    model_version: str
    model_url: str
    runtime: str
    min_workers: int
    max_workers: int
    loaded_at_startup: bool
    workers: list[ServingEngine]
    job_queue_status: JobQueueStatus
    task: str
    architecture: str
    digest: str
    aliases: list[str]
    registered_at: str


class StatusReply(msgspec.Struct, frozen=True):
    """A message that confirms the operation."""

    status: str


EXAMPLE: dict[str, Any] = {
    "modelName": "demo-sentiment-lstm",
    "modelVersion": "1",
    "modelUrl": "demo-sentiment-lstm:1",
    "runtime": "ostinato",
    "minWorkers": 0,
    "maxWorkers": 1,
    "loadedAtStartup": False,
    "workers": [{"id": "71", "status": "READY", "memoryUsage": 1648000, "pid": 71, "gpu": False}],
    "jobQueueStatus": {"pendingRequests": 0},
    "task": "classification",
    "architecture": "lstm",
    "digest": "0" * 64,
    "aliases": ["champion"],
    "registeredAt": "2025-04-23T04:04:25Z",
}


def describe(version: Version, pool: EnginePool) -> ModelDescription:
    """Describe a version and the engines that have loaded it."""
    statuses = [
        (beat, status)
        for beat in (client.heartbeat for client in pool.living)
        if beat is not None
        for status in beat.versions
        if status.digest == version.digest
    ]
    workers = [ServingEngine(str(b.pid), "READY", s.bytes, b.pid, b.device != "cpu") for b, s in statuses]
    registered = datetime.fromtimestamp(version.created_at, UTC).replace(microsecond=0)
    return ModelDescription(
        version.model,
        str(version.version),
        version.ref,
        "ostinato",
        0,
        max(1, len(pool.living)),
        False,
        workers,
        JobQueueStatus(sum(status.waiting for _, status in statuses)),
        version.task,
        version.architecture,
        version.digest,
        list(version.aliases),
        registered.isoformat().replace("+00:00", "Z"),
    )

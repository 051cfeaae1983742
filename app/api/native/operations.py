"""Liveness, readiness, metrics, and the engines' state."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.http.auth import Principal
from app.api.http.replies import JsonReply
from app.api.http.services import ServicesDep
from app.api.native.metrics import exposition
from app.api.openapi.describe import COMMON, failures, replies
from app.errors import OstinatoError
from app.registry.records import LOCAL
from app.wire.engine import Heartbeat, VersionStatus
from app.wire.modes import ModeChoice

router = APIRouter(tags=["operations"])
ALIASES_PATIENCE = 1.0  # seconds for which /metrics waits for the database


class Alive(msgspec.Struct, frozen=True):
    """The liveness check's reply."""

    status: str = "ok"


class Ready(msgspec.Struct, frozen=True):
    """The service's readiness; `checks` maps each check to `ok` or to a description of the problem."""

    status: str
    checks: dict[str, str]


class EngineWork(msgspec.Struct, frozen=True):
    """The amount of work done for one version since it was loaded.

    `requests` counts completed requests, `calls` counts scoring batches and decode steps, and `rows` counts the
    sequences in them. `padded_tokens` is the number of tokens in scoring batches and prompts, including padding.
    """

    requests: int
    prompt_tokens: int
    generated_tokens: int
    calls: int
    rows: int
    padded_tokens: int


class EngineVersion(msgspec.Struct, frozen=True):
    """A version that is loaded in an engine.

    `running` and `waiting` count the version's requests. `cache_bytes` is the memory for running sequences' states, and
    `prefix_bytes` is the memory for earlier prompts' states. Versions that share the weights of their base each have an
    equal share of `bytes` and `cache_bytes`. `dtype` is the data type of the weights, `kernel` is the
    implementation of the matrix products, and `choice` explains how both were chosen.
    """

    ref: str
    digest: str
    dtype: str
    bytes: int
    running: int
    waiting: int
    slots: int
    cache_bytes: int
    prefix_bytes: int
    kernel: str
    choice: ModeChoice
    work: EngineWork


class EngineReport(msgspec.Struct, frozen=True):
    """An engine. `busy_seconds` is the time since the engine's current step started, or 0 if the engine is idle."""

    pid: int
    device: str
    threads: int
    busy_seconds: float
    versions: list[EngineVersion]


class Engines(msgspec.Struct, frozen=True):
    """The running engines."""

    engines: list[EngineReport]


@router.get(
    "/livez",
    operation_id="livez",
    summary="Check that the process runs",
    description="Returns 200 as long as the API process runs, regardless of the state of the engines and the database.",
    response_model=None,
    responses=replies(Alive, {"status": "ok"}, ()),
)
async def livez(request: Request) -> Response:
    return JsonReply(Alive())


_READY: dict[str, Any] = {
    "response_model": None,
    "description": (
        "Returns 200 when the database responds, an engine is running, and every version with a required alias is "
        "loaded and has answered a test request; otherwise 503 with the failed checks. The reply does not name "
        "required versions that the caller may not see."
    ),
    "responses": {
        **replies(Ready, {"status": "ready", "checks": {"database": "ok", "engine": "ok"}}, ()),
        503: {
            "description": "Not ready",
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/Ready"},
                    "example": {"status": "not ready", "checks": {"database": "ok", "engine": "no engine is running"}},
                }
            },
        },
    },
}


@router.get("/readyz", operation_id="readyz", summary="Check that requests can be answered", **_READY)
@router.get("/health", operation_id="health", summary="Check that requests can be answered (same as /readyz)", **_READY)
async def readyz(services: ServicesDep, principal: Principal) -> Response:
    report = services.readiness.report(principal)
    value = Ready("ready" if report.ready else "not ready", report.checks)
    return JsonReply(value, {"cache-control": "no-store"}, 200 if report.ready else 503)


class Health(msgspec.Struct, frozen=True):
    """The service's health; `status` is Healthy or Unhealthy."""

    status: str


@router.get(
    "/ping",
    operation_id="ping",
    summary="Check that requests can be answered (the route of TorchServe and SageMaker)",
    description="Returns 200 if `/readyz` returns 200, and 503 otherwise.",
    response_model=None,
    responses={
        **replies(Health, {"status": "Healthy"}, ()),
        503: {
            "description": "Not ready",
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/Health"},
                    "example": {"status": "Unhealthy"},
                }
            },
        },
    },
)
async def ping(services: ServicesDep, principal: Principal) -> Response:
    ready = services.readiness.report(principal).ready
    value = Health("Healthy" if ready else "Unhealthy")
    return JsonReply(value, {"cache-control": "no-store"}, 200 if ready else 503)


class Release(msgspec.Struct, frozen=True):
    """The service's release."""

    version: str


@router.get(
    "/version",
    operation_id="version",
    summary="Read the version of the service",
    response_model=None,
    responses=replies(Release, {"version": "0.1.0"}, COMMON),
)
async def version(request: Request) -> Response:
    """Returns the running Ostinato release."""
    return JsonReply(Release(request.app.version))


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Read the metrics",
    description=(
        "Returns the counters, gauges and histograms of this API process and of the engines, in the Prometheus text "
        "format."
    ),
    response_class=Response,
    responses={
        200: {
            "description": "The metrics",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": "ostinato_num_requests_running 0.0"}},
        },
        **failures(*COMMON),
    },
)
async def metrics(services: ServicesDep) -> Response:
    try:
        async with asyncio.timeout(ALIASES_PATIENCE):
            aliases = await asyncio.to_thread(services.registry.every_alias)
    except (OstinatoError, TimeoutError):  # the other metrics do not need the database
        aliases = []
    body = exposition(services.inference.pool, aliases)
    return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get(
    "/v1/engine",
    operation_id="engines",
    summary="List the engines and their loaded versions",
    description="Reports the last heartbeat of each running engine, with the loaded versions that this key may use.",
    response_model=None,
    responses=replies(
        Engines,
        {"engines": [{"pid": 71, "device": "cpu", "threads": 2, "busy_seconds": 0.0, "versions": []}]},
        COMMON,
    ),
)
async def engines(services: ServicesDep, principal: Principal) -> Response:
    beats = [client.heartbeat for client in services.inference.pool.living if client.heartbeat is not None]
    names = {v.digest: v.name for beat in beats for v in beat.versions}
    if principal != LOCAL:
        names = await asyncio.to_thread(services.registry.references, list(names), principal)
    return JsonReply(Engines([_engine(beat, names) for beat in beats]))


def _engine(beat: Heartbeat, names: Mapping[str, str]) -> EngineReport:
    """Describe an engine. `names` maps the digests of the versions to include to their references."""
    versions = [_version(v, names[v.digest]) for v in beat.versions if v.digest in names]
    return EngineReport(beat.pid, beat.device, beat.threads, beat.busy_seconds, versions)


def _version(status: VersionStatus, ref: str) -> EngineVersion:
    work = EngineWork(**msgspec.structs.asdict(status.work))
    return EngineVersion(
        ref, status.digest, status.dtype, status.bytes, status.running, status.waiting, status.slots,
        status.cache_bytes, status.prefix_bytes, status.kernel, status.choice, work,
    )  # fmt: skip

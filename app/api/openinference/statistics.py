"""Model statistics for this API process, in Triton's format."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from app import telemetry
from app.api.http.auth import principal_of
from app.api.http.replies import JsonReply
from app.api.http.services import services_of
from app.api.openapi.describe import LOOKUP, replies
from app.api.openinference.references import reference_of, unversioned
from app.metrics import Histogram
from app.registry.records import Version
from app.registry.search import Filter
from app.registry.service import PAGE_LIMIT

router = APIRouter(prefix="/v2/models", tags=["Open Inference Protocol"])


class DurationStatistics(msgspec.Struct, frozen=True):
    """A number of requests, and their total duration in nanoseconds."""

    count: int
    ns: int


class InferStatistics(msgspec.Struct, frozen=True):
    """The number and duration of requests, by outcome and by phase. Phases that are not measured separately are 0."""

    success: DurationStatistics
    fail: DurationStatistics
    queue: DurationStatistics
    compute_input: DurationStatistics
    compute_infer: DurationStatistics
    compute_output: DurationStatistics


class VersionStatistics(msgspec.Struct, frozen=True):
    """One version's statistics. `last_inference` is always 0, and `batch_stats` is always empty."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: InferStatistics
    batch_stats: list[dict[str, Any]]


class ServerStatistics(msgspec.Struct, frozen=True):
    """Per-version statistics since this API process started."""

    model_stats: list[VersionStatistics]


_NONE = {"count": 0, "ns": 0}
_SOME = {"count": 3, "ns": 5400000}
_EXAMPLE: dict[str, Any] = {
    "model_stats": [
        {
            "name": "demo-sentiment-lstm",
            "version": "1",
            "last_inference": 0,
            "inference_count": 3,
            "execution_count": 3,
            "inference_stats": {
                "success": _SOME,
                "fail": _NONE,
                "queue": _SOME,
                "compute_input": _NONE,
                "compute_infer": _SOME,
                "compute_output": _NONE,
            },
            "batch_stats": [],
        }
    ]
}
_DOCS: dict[str, Any] = {"response_model": None, "responses": replies(ServerStatistics, _EXAMPLE, LOOKUP)}


@router.get("/stats", operation_id="all_statistics", summary="Read the statistics of all models (Triton)", **_DOCS)
async def all_statistics(request: Request) -> Response:
    """Returns the statistics of the newest 1,000 versions."""
    registry, principal = services_of(request).registry, principal_of(request)
    page = await asyncio.to_thread(registry.search, principal, Filter(), limit=PAGE_LIMIT)
    return _reply(page.items)


@router.get(
    "/{name}/versions/{version}/stats",
    operation_id="version_statistics",
    summary="Read one version's statistics (Triton)",
    **_DOCS,
)
async def model_statistics(request: Request, name: str, version: str) -> Response:
    """Returns counts and durations of the requests that this API process has answered."""
    registry, principal = services_of(request).registry, principal_of(request)
    resolved = await asyncio.to_thread(registry.resolve, reference_of(name, version), principal)
    return _reply([resolved])


router.get("/{name}/stats", operation_id="model_statistics", summary="Read a model's statistics (Triton)", **_DOCS)(
    unversioned(model_statistics)
)


def _reply(versions: list[Version]) -> Response:
    histograms = telemetry.e2e_request_latency, telemetry.request_queue_time, telemetry.request_inference_time
    totals, queues, computations = map(_sums, histograms)
    none = DurationStatistics(0, 0)
    statistics = []
    for version in versions:
        infer = computations.get(version.ref, none)
        parts = InferStatistics(totals.get(version.ref, none), none, queues.get(version.ref, none), none, infer, none)
        statistics.append(
            VersionStatistics(version.model, str(version.version), 0, infer.count, infer.count, parts, [])
        )
    return JsonReply(ServerStatistics(statistics))


def _sums(histogram: Histogram) -> dict[str, DurationStatistics]:
    """The count and sum of a histogram's durations, by model reference."""
    counts: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for metric in histogram.collect():
        for sample in metric.samples:
            for suffix, sums in (("_count", counts), ("_sum", seconds)):
                if sample.name.endswith(suffix):
                    sums[sample.labels["model_name"]] = sample.value
    return {name: DurationStatistics(int(count), int(seconds[name] * 1e9)) for name, count in counts.items()}

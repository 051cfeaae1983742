"""Streams a dry run as server-sent events: the report on the data as soon as it has been read, then the estimate."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator

from fastapi import Request
from starlette.responses import Response

from app.api.http.caller import time_limit
from app.api.http.presence import attended
from app.api.http.services import Services
from app.api.http.sse import DONE, EventStream, json_line
from app.api.openai.fine_tuning_estimates import estimate_object
from app.jobs.request import JobRequest
from app.wire.estimate import Estimate

LEFT = "dry_run"  # the stage of cancelled requests under which clients that stop a dry run are counted
STREAM = (
    'event: data\ndata: {"object":"fine_tuning.job.estimate",…,"plans":[],…}\n\n'
    'event: estimate\ndata: {"object":"fine_tuning.job.estimate",…}\n\ndata: [DONE]\n\n'
)


async def estimate(services: Services, body: JobRequest, principal: str, seconds: float) -> Estimate:
    """Compute an estimate in a thread that stops when this coroutine is cancelled."""
    left = threading.Event()
    try:
        return await asyncio.to_thread(services.estimates.estimate, body, principal, seconds, left.is_set)
    finally:
        left.set()


async def stream_estimate(request: Request, services: Services, body: JobRequest, principal: str) -> Response:
    """Return a stream of the report on the data and of the estimate.

    Errors that are found before the data has been read are raised, so that the reply has their status.
    """
    seconds, loop = time_limit(request), asyncio.get_running_loop()
    reports: asyncio.Queue[Estimate | None] = asyncio.Queue()
    left = threading.Event()

    def show(report: Estimate) -> None:
        loop.call_soon_threadsafe(reports.put_nowait, report)

    run = asyncio.to_thread(services.estimates.estimate, body, principal, seconds, left.is_set, show)
    work = asyncio.create_task(run)
    work.add_done_callback(lambda _: reports.put_nowait(None))
    try:
        report = await attended(request, reports.get(), LEFT)
        if report is None:
            work.result()
    except BaseException:
        left.set()
        work.cancel()
        raise

    async def close() -> None:
        left.set()

    return EventStream(_frames(body, report, work), {}, time.monotonic() + seconds, end=b"", close=close, left=LEFT)


async def _frames(body: JobRequest, report: Estimate | None, work: asyncio.Task[Estimate]) -> AsyncGenerator[bytes]:
    if report is not None:
        yield _frame("data", body, report)
    yield _frame("estimate", body, await work) + DONE


def _frame(kind: str, body: JobRequest, shown: Estimate) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + json_line(estimate_object(body, shown)) + b"\n\n"

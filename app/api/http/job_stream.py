"""Streams a job's events as server-sent events until the job ends.

Each job event is sent with its `id`. A client that reconnects sends the id of the last event that it received in the
header `Last-Event-ID`, and receives the later events. An event of the type `job` contains the job object, and is sent
at the start and whenever the job changes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import Response

from app.api.http.caller import time_limit
from app.api.http.job_objects import EventList, event_object
from app.api.http.replies import JsonReply
from app.api.http.services import Services
from app.api.http.sse import DONE, EventStream, json_line
from app.jobs.records import Job, JobEvent
from app.jobs.service import Jobs

STREAMED = (
    "With `stream=true`, sends the events as server-sent events, the oldest first, until the job ends. Events of the "
    "type `job` contain the job object; they are sent at the start and whenever the job changes. To continue a stream "
    "after an event, send the event's id as `after` or in the header `Last-Event-ID`. With `points`, only some of the "
    "past metrics events are sent, for example for a plot: at most `points` events with a validation loss and `points` "
    "events without one, evenly spaced over the log."
)
# A stream contains at most this many past metrics events with a validation loss, and as many without one.
Points = Annotated[int, Query(ge=2, le=5000)]
PAGE = 500  # events that are read at once
PAUSE = 0.4  # seconds between two checks for changes in the database
REREAD = 3.0  # seconds after which the job is read even if the database has not changed: a lease may have expired


@dataclass(frozen=True)
class Followed:
    """A job that a client follows, and the functions that read and render it."""

    jobs: Jobs
    job_id: str
    principal: str
    render: Callable[[Job], Any]
    points: int | None = None  # see `Points`; None: all past metrics events are sent


async def list_or_follow(
    request: Request, services: Services, followed: Followed, *, after: str | None, limit: int, stream: bool
) -> Response:
    """Return a page of the job's events or, if `stream` is true, a stream of events. Raises NotFound."""
    if stream:
        return await _follow(request, services, followed, after)
    page = await asyncio.to_thread(followed.jobs.events, followed.job_id, followed.principal, after=after, limit=limit)
    return JsonReply(EventList("list", [event_object(event) for event in page.items], page.has_more))


async def _follow(request: Request, services: Services, followed: Followed, after: str | None) -> Response:
    """Return a stream of the events after the event with the id in `Last-Event-ID` or, without this header, `after`.

    Raises NotFound or Overloaded before the first byte is sent.
    """
    after = request.headers.get("last-event-id") or after
    await asyncio.to_thread(followed.jobs.news, followed.job_id, followed.principal, after, 1)
    until = time.monotonic() + time_limit(request)
    services.followers.take(followed.principal)

    async def close() -> None:
        services.followers.leave(followed.principal)

    return EventStream(_frames(services, followed, after, until), {}, until, end=b"", close=close, left="following")


async def _frames(
    services: Services, followed: Followed, after: str | None, until: float
) -> AsyncGenerator[bytes, None]:
    """Yield the past and new events, and the job whenever it has changed.

    The job is sent after the events that were read with it, so that its final state comes last.
    """
    shown, mark, read_at = b"", None, 0.0
    for page in await _past(followed, after):
        after = page[-1].id
        yield b"".join(map(_event, page))
    while time.monotonic() < until:
        current = await asyncio.to_thread(services.changes.mark)
        if current is not None and current == mark and time.monotonic() - read_at < REREAD:
            await asyncio.sleep(PAUSE)
            continue
        mark, read_at = current, time.monotonic()
        job, events = await asyncio.to_thread(followed.jobs.news, followed.job_id, followed.principal, after, PAGE)
        if events:
            after = events[-1].id
            yield b"".join(map(_event, events))
        whole = len(events) < PAGE
        if (line := json_line(followed.render(job))) != shown and (whole or not shown):
            shown = line
            yield b"event: job\ndata: " + line + b"\n\n"
        if whole and job.ended:
            yield DONE
            return
        if whole:
            await asyncio.sleep(PAUSE)
        else:
            mark = None  # the database may contain more events, so read again even if it does not change


async def _past(followed: Followed, after: str | None) -> list[Sequence[JobEvent]]:
    """Return pages of the past events, with some of the metrics (see `Points`), or no pages if `points` is None."""
    if followed.points is None:
        return []
    arguments = followed.job_id, followed.principal, after, followed.points
    events = await asyncio.to_thread(followed.jobs.outline, *arguments)
    return [events[start : start + PAGE] for start in range(0, len(events), PAGE)]


def _event(event: JobEvent) -> bytes:
    return b"id: " + event.id.encode() + b"\ndata: " + json_line(event_object(event)) + b"\n\n"

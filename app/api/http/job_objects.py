"""JSON objects shared by training jobs and evaluations: errors and events."""

from __future__ import annotations

from typing import Any

import msgspec

from app.jobs.records import JobEvent


class JobError(msgspec.Struct, frozen=True):
    """The reason why a job failed. `code` is machine-readable: invalid_training_file, invalid_validation_file,
    diverged, out_of_memory, …"""

    code: str
    message: str
    param: str | None


class EventObject(msgspec.Struct, frozen=True):
    """A job event. The `data` of a metrics event contains the metrics at one step."""

    id: str
    object: str
    created_at: int
    level: str
    message: str
    type: str
    data: dict[str, Any]


class EventList(msgspec.Struct, frozen=True):
    """A page of events."""

    object: str
    data: list[EventObject]
    has_more: bool


def event_object(event: JobEvent) -> EventObject:
    return EventObject(
        id=event.id,
        object="fine_tuning.job.event",
        created_at=int(event.created_at),
        level=event.level,
        message=event.message,
        type=event.type,
        data=event.data,
    )

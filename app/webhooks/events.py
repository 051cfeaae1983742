"""The event types, and the bodies of the events that webhooks send."""

from __future__ import annotations

import json

EVENT_TYPES = (
    "fine_tuning.job.succeeded",
    "fine_tuning.job.failed",
    "fine_tuning.job.cancelled",
    "batch.completed",
    "batch.failed",
    "batch.expired",
    "batch.cancelled",
)


def body(event_id: str, type_: str, created_at: float, subject: str) -> bytes:
    """Return the body of an event. `subject` is the id of the job or batch. Equal events have equal bodies."""
    event = {
        "id": event_id,
        "object": "event",
        "type": type_,
        "created_at": int(created_at),
        "data": {"id": subject},
    }
    return json.dumps(event, separators=(",", ":")).encode()

"""The bodies of events."""

from __future__ import annotations

import json

from app.webhooks import events


def test_a_body_names_the_event_and_its_subject() -> None:
    body = events.body("evt-1", "fine_tuning.job.failed", 12.9, "ftjob-1")
    assert json.loads(body) == {
        "id": "evt-1",
        "object": "event",
        "type": "fine_tuning.job.failed",
        "created_at": 12,
        "data": {"id": "ftjob-1"},
    }
    assert body == events.body("evt-1", "fine_tuning.job.failed", 12.9, "ftjob-1")

"""Events show whether a job waits because a disk is full."""

from __future__ import annotations

from app.wire.waiting import WAITS_FOR_DISK, waits_for_disk


def test_only_the_events_of_a_full_disk_are_recognised() -> None:
    assert waits_for_disk(WAITS_FOR_DISK) and waits_for_disk({"waits_for": "disk", "more": 1})
    assert not any(map(waits_for_disk, (None, {}, {"waits_for": "room"}, {"step": 1})))

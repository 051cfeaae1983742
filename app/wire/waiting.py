"""Recognises the event that reports that a job is waiting because the disk is full."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WAITS_FOR_DISK: Mapping[str, Any] = {"waits_for": "disk"}  # the event's data


def waits_for_disk(data: Mapping[str, Any] | None) -> bool:
    """Whether an event's data indicates that its job is waiting for free disk space."""
    return bool(data) and WAITS_FOR_DISK.items() <= dict(data or {}).items()

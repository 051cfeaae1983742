"""A kill for lack of memory is attributed to a process only if it happens shortly before the process ends."""

from __future__ import annotations

import pytest

from app.worker import memory_kills
from app.worker.memory_kills import KillWatch


def test_only_recent_kills_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    total = 5
    monkeypatch.setattr(memory_kills, "count", lambda: total)
    watch = KillWatch()
    assert not watch.noticed()
    total = 6
    assert watch.noticed()
    watch.look(True)  # the killed process may still be ending
    assert watch.noticed()
    watch.look(False)
    assert watch.noticed()
    watch.look(True)  # it was another process
    assert not watch.noticed()

"""The delay before a retry."""

from __future__ import annotations

import pytest

from app.worker import retry


def test_the_delay_doubles_up_to_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_DELAY", 0.5)
    assert [retry.delay(failures) for failures in range(4)] == [0.5, 1.0, 2.0, 4.0]
    assert retry.delay(7) == retry.delay(10**6) == 60.0

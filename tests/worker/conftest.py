"""Fixtures for the tests of the worker."""

from __future__ import annotations

import pytest

from app.worker import retry


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers in this process retry a job almost immediately."""
    monkeypatch.setattr(retry, "FIRST_DELAY", 0.01)

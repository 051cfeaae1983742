"""Fixtures of the worker's tests."""

from __future__ import annotations

import pytest

from app.worker import retry


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers in this process try a job again almost at once."""
    monkeypatch.setattr(retry, "FIRST_DELAY", 0.01)

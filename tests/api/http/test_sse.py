"""Event streams to a client that stops reading. A real connection would buffer too much data for this test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message

from app.api.http import sse
from app.telemetry import cancelled


def test_a_stream_is_cut_when_its_client_stops_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "LAST_WORDS", 0.0)
    closed: list[str] = []

    async def frames() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"data: more\n\n"
        finally:
            closed.append("frames")

    async def close() -> None:
        closed.append("work")

    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":  # the connection accepts nothing more
            await asyncio.Event().wait()

    stream = sse.EventStream(frames(), {}, time.monotonic() + 0.05, close=close)
    before = cancelled.labels("stalled")._value.get()
    asyncio.run(asyncio.wait_for(stream({"type": "http"}, never, send), 5))
    assert closed == ["frames", "work"] and cancelled.labels("stalled")._value.get() == before + 1

"""The server's loop: it renews the date header at every tick, and ends at once after a signal."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest
import uvicorn

from app.api.http import server as module
from app.api.http.server import Server


async def application(scope: object, receive: object, send: object) -> None:
    raise AssertionError("nothing is requested in these tests")


def make() -> Server:
    return Server(uvicorn.Config(application, log_config=None))


def test_a_signal_ends_the_loop_at_once_also_from_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    server = make()

    async def run() -> None:
        loop = asyncio.create_task(server.main_loop())
        await asyncio.sleep(0)
        threading.Timer(0.05, server.handle_exit, (signal.SIGTERM, None)).start()
        await loop

    monkeypatch.setattr(module, "TICK", 3600.0)
    asyncio.run(asyncio.wait_for(run(), 60))
    assert server.should_exit


def test_a_signal_before_the_loop_ends_it() -> None:
    server = make()
    server.handle_exit(signal.SIGTERM, None)
    asyncio.run(asyncio.wait_for(server.main_loop(), 60))


def test_every_tick_renews_the_date(monkeypatch: pytest.MonkeyPatch) -> None:
    server = make()
    dates: list[bytes] = []
    on_tick = server.on_tick

    async def record(counter: int) -> bool:
        server.server_state.default_headers = []
        ending = await on_tick(counter)
        dates.extend(value for name, value in server.server_state.default_headers if name == b"date")
        return ending or len(dates) == 3

    server.on_tick = record  # type: ignore[method-assign]
    monkeypatch.setattr(module, "TICK", 0.001)
    asyncio.run(asyncio.wait_for(server.main_loop(), 60))
    assert len(dates) == 3

"""The head of a reply is sent with the first piece of its body, or alone if there is none yet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop
from uvicorn.protocols.http.flow_control import FlowControl

from app.api.http.joined import JoinedCycle

HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]}
STREAM = {"type": "http.response.start", "status": 200, "headers": []}


class Wire:
    """A transport that records the data sent by each call."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def writelines(self, pieces: Any) -> None:
        self.sent.append(b"".join(pieces))

    def close(self) -> None:
        self.sent.append(b"<closed>")

    def is_closing(self) -> bool:
        return False

    def resume_reading(self) -> None: ...


def body(content: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": more}


def cycle_of(transport: Any, method: str = "GET", keep_alive: bool = True) -> JoinedCycle:
    return JoinedCycle(
        scope={"method": method, "http_version": "1.1"},  # type: ignore[typeddict-item]
        transport=transport,
        flow=FlowControl(transport),
        logger=logging.getLogger("test"),
        access_logger=logging.getLogger("test"),
        access_log=False,
        default_headers=[],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=keep_alive,
        on_response=lambda: None,
    )


def sent(story: Callable[[JoinedCycle], Awaitable[None]], method: str = "GET", keep_alive: bool = True) -> list[bytes]:
    """The data sent by each call to the transport while a reply is sent."""
    wire = Wire()

    async def scenario() -> None:
        await story(cycle_of(wire, method, keep_alive))
        await asyncio.sleep(0)

    asyncio.run(scenario())
    return wire.sent


def test_a_whole_reply_is_sent_at_once() -> None:
    async def story(cycle: JoinedCycle) -> None:
        await cycle.send(HEAD)
        await cycle.send(body(b"abcd"))

    [reply] = sent(story)
    assert reply.startswith(b"HTTP/1.1 200 OK\r\n") and reply.endswith(b"\r\n\r\nabcd")


def test_the_head_of_a_stream_does_not_wait_for_a_later_turn() -> None:
    async def story(cycle: JoinedCycle) -> None:
        await cycle.send(STREAM)
        await asyncio.sleep(0)
        await cycle.send(body(b"abcd", more=True))
        await cycle.send(body(b"", more=False))

    head, first, last = sent(story)
    assert head.endswith(b"\r\n\r\n") and first == b"4\r\nabcd\r\n" and last == b"0\r\n\r\n"


@pytest.mark.parametrize("keep_alive", [True, False])
def test_a_reply_without_a_body_is_sent(keep_alive: bool) -> None:
    async def story(cycle: JoinedCycle) -> None:
        await cycle.send(HEAD)
        await cycle.send(body(b""))

    head, *closed = sent(story, "HEAD", keep_alive)
    assert head.endswith(b"\r\n\r\n") and closed == ([] if keep_alive else [b"<closed>"])


def test_a_reply_on_a_closed_connection_is_dropped() -> None:
    async def scenario() -> None:
        closed = asyncio.Event()

        class Closing(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport
                transport.close()

            def connection_lost(self, exc: Exception | None) -> None:
                cycles.append(cycle_of(self.transport))
                closed.set()

        cycles: list[JoinedCycle] = []
        server = await asyncio.get_running_loop().create_server(Closing, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await closed.wait()
        try:
            await cycles[0].send(HEAD)
            await cycles[0].send(body(b"abcd"))
        finally:
            writer.close()
            server.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())

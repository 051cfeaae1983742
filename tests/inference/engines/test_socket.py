from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest
import zmq

from app.inference.engines.socket import BURST, EngineSocket


def receive(messages: list[bytes], deliver: Callable[[bytes], None], drains: int) -> None:
    """Queue the messages at a socket, then drain it."""

    async def scenario() -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        sender, receiver = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        sender.bind("inproc://engine")
        receiver.connect("inproc://engine")
        socket = EngineSocket(receiver, deliver)
        for message in messages:
            sender.send(message)
        for _ in range(drains):
            socket.drain()
        socket.close()
        context.destroy(linger=0)

    asyncio.run(scenario())


def test_a_message_that_cannot_be_delivered_does_not_delay_those_behind_it(caplog: pytest.LogCaptureFixture) -> None:
    delivered: list[bytes] = []

    def deliver(message: bytes) -> None:
        if message == b"bad":
            raise RuntimeError("this message is bad")
        delivered.append(message)

    with caplog.at_level(logging.ERROR):
        receive([b"1", b"bad", b"2", b"bad", b"3"], deliver, drains=1)
    assert delivered == [b"1", b"2", b"3"]
    [first, _] = [record for record in caplog.records if "could not be delivered" in record.message]
    assert first.exc_info is not None and "this message is bad" in str(first.exc_info[1])


def test_a_long_burst_is_delivered_in_parts() -> None:
    delivered: list[bytes] = []
    receive([b"%d" % i for i in range(BURST + 10)], delivered.append, drains=1)
    assert len(delivered) == BURST
    delivered.clear()
    receive([b"%d" % i for i in range(BURST + 10)], delivered.append, drains=2)
    assert delivered == [b"%d" % i for i in range(BURST + 10)]

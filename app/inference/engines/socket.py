"""A ZeroMQ socket that sends and receives bytes on the event loop.

The socket's file descriptor is edge-triggered, and a send may consume the edge that announces a received message.
Therefore, the receive queue is checked again after every use. This class is several times cheaper than `zmq.asyncio`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import zmq

BURST = 256  # the maximum number of messages received before other callbacks of the event loop run

log = logging.getLogger(__name__)


class EngineSocket:
    """Sends messages, and calls `deliver` on the event loop with each message received.

    An exception raised by `deliver` is logged and affects only the message that caused it.
    """

    def __init__(self, socket: zmq.Socket[bytes], deliver: Callable[[bytes], None]) -> None:
        self._socket = socket
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._closed = False
        self._descriptor = int(socket.getsockopt(zmq.FD))
        self._loop.add_reader(self._descriptor, self.drain)
        self._look_again()

    def send(self, payload: bytes) -> None:
        """Queue one message. Raises zmq.Again if the queue is full."""
        self._socket.send(payload, zmq.NOBLOCK)
        self._look_again()

    def _look_again(self) -> None:
        if not self._scheduled and int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._schedule()

    def _schedule(self) -> None:
        self._scheduled = True
        self._loop.call_soon(self.drain)

    def drain(self) -> None:
        """Receive and deliver up to `BURST` messages. The event loop calls `drain` again for the others."""
        self._scheduled = False
        for _ in range(BURST):
            if self._closed:  # `deliver` may close the socket
                return
            try:
                payload = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                self._deliver(payload)
            except Exception:
                # The loop must continue: the descriptor reports no further event for messages already queued.
                log.exception("a message from an engine could not be delivered")
        if not self._closed:
            self._schedule()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._descriptor)
            self._socket.close(linger=0)

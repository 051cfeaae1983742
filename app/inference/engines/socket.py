"""A ZeroMQ socket on the event loop. Knows bytes in and bytes out.

The socket's file descriptor is edge-triggered and also falls silent after a send, so the queue is looked at again
after every use; that is all there is to it, and it costs a fraction of what `zmq.asyncio` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import zmq

BURST = 256  # messages taken in before other work of the loop gets its turn


class EngineSocket:
    """`deliver` is called on the event loop with each message that comes in."""

    def __init__(self, socket: zmq.Socket[bytes], deliver: Callable[[bytes], None]) -> None:
        self._socket = socket
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._closed = False
        self._descriptor = int(socket.getsockopt(zmq.FD))
        self._loop.add_reader(self._descriptor, self._drain)
        self._look_again()

    def send(self, payload: bytes) -> None:
        """Queue one message; raises zmq.Again where the queue is full."""
        self._socket.send(payload, zmq.NOBLOCK)
        self._look_again()

    def _look_again(self) -> None:
        if not self._scheduled and int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._scheduled = True
            self._loop.call_soon(self._drain)

    def drain(self) -> None:
        """Take in now what has come."""
        self._drain()

    def _drain(self) -> None:
        self._scheduled = False
        for _ in range(BURST):
            if self._closed:
                return
            try:
                payload = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._deliver(payload)
        if not self._closed:
            self._scheduled = True
            self._loop.call_soon(self._drain)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._descriptor)
            self._socket.close(linger=0)

"""A ZeroMQ socket that sends and receives bytes on the event loop.

The socket's file descriptor is edge-triggered, and a send may consume the edge that signals a received message.
Therefore, the receive queue is checked again after every use. This class is several times faster than `zmq.asyncio`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import zmq

BURST = 256  # maximum number of messages received before other callbacks run, and of messages waiting to be sent
RETRY_SECONDS = 0.01  # the time between two attempts to send to an engine whose queue is full

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
        self._outgoing: list[bytes] = []  # messages that have not been handed to the socket yet
        self._flushing = False  # whether `_flush` is scheduled
        self._descriptor = int(socket.getsockopt(zmq.FD))
        self._loop.add_reader(self._descriptor, self.drain)
        self._look_again()

    def send(self, payload: bytes) -> None:
        """Send one message at the end of this event loop iteration. Raises zmq.Again if the queue is full.

        The messages of all requests that arrive in one iteration are sent together, so that the socket's I/O thread and
        the engine are woken only once.
        """
        if len(self._outgoing) >= BURST:
            self._send_outgoing()
        if len(self._outgoing) >= BURST:
            raise zmq.Again
        self._outgoing.append(payload)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Send the outgoing messages. If the socket's queue is full, send the remaining messages later."""
        self._flushing = False
        if not self._closed and not self._send_outgoing():
            self._flushing = True
            self._loop.call_later(RETRY_SECONDS, self._flush)

    def _send_outgoing(self) -> bool:
        """Send outgoing messages until the socket's queue is full, and return whether all have been sent."""
        outgoing, sent = self._outgoing, 0
        try:
            for payload in outgoing:
                self._socket.send(payload, zmq.NOBLOCK)
                sent += 1
        except zmq.Again:
            pass
        del outgoing[:sent]
        self._look_again()
        return not outgoing

    def _look_again(self) -> None:
        if not self._scheduled and int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._schedule()

    def _schedule(self) -> None:
        self._scheduled = True
        self._loop.call_soon(self.drain)

    def drain(self) -> None:
        """Receive and deliver up to `BURST` messages. The event loop calls `drain` again for the remaining messages."""
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
                # The loop must continue: the descriptor does not report messages that are already queued.
                log.exception("a message from an engine could not be delivered")
        if not self._closed:
            self._schedule()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._descriptor)
            self._socket.close(linger=0)

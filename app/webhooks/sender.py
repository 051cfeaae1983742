"""Sends one request to an endpoint and reads the status of the reply.

This is not a general HTTP client: it connects only to checked addresses, does not use a proxy or follow redirects, and
reads little more than the first line of the reply. Time and memory are bounded, regardless of what the receiver sends.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property

from app.access import IPNetwork
from app.webhooks import events, signing
from app.webhooks.addresses import AddressRefused, Destination, resolve

STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])( [^\r\n]*)?\r?\n")
LINE_LIMIT = 8192  # maximum number of bytes of the status line, or of a header
INTERIM_LIMIT, INTERIM_BYTES = 10, 16384  # maximum number of interim replies, and of their bytes in total
REST_LIMIT, REST_SECONDS = 65536, 1.0  # maximum number of bytes and seconds for which `_leave` continues to read
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Unanswered(Exception):
    """The endpoint has not answered. The message is meant for the owner of the endpoint."""


class Sender:
    """Sends requests to endpoints, from any number of tasks."""

    def __init__(self, networks: Sequence[IPNetwork], seconds: float) -> None:
        """`networks` are non-public networks to which requests may be sent. `seconds` limits the time of a request."""
        self._networks, self._seconds = networks, seconds

    async def post_event(
        self, url: str, secrets: Iterable[str], event_id: str, type_: str, created_at: float, subject: str
    ) -> int:
        """Send an event, signed with each secret, and return the status of the reply. Raises Unanswered."""
        body = events.body(event_id, type_, created_at, subject)
        headers = signing.headers(secrets, event_id, int(time.time()), body)
        return await self.post(url, headers, body)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Send a request with a JSON body, and return the status of the reply. Raises Unanswered."""
        destination = Destination.of(url)
        try:
            async with asyncio.timeout(self._seconds):
                status, streams = await self._exchange(destination, _head(destination, headers, body) + body)
        except TimeoutError:
            raise Unanswered(f"the endpoint has not answered within {self._seconds:g} s") from None
        except AddressRefused as error:
            raise Unanswered(error.message) from None
        except (OSError, ValueError, EOFError, asyncio.LimitOverrunError) as error:
            raise Unanswered(_reason(error)) from None
        await _leave(*streams)
        return status

    async def _exchange(self, destination: Destination, request: bytes) -> tuple[int, Streams]:
        reader, writer = await self._connect(destination)
        try:
            writer.write(request)
            await writer.drain()
            return await _status(reader), (reader, writer)
        except BaseException:
            writer.close()
            raise

    async def _connect(self, destination: Destination) -> Streams:
        """Connect to the first address that accepts the connection. The certificate must be valid for the host."""
        failure: OSError = ConnectionError("the host has no address")
        for address in await resolve(destination, self._networks):
            try:
                return await asyncio.open_connection(
                    address,
                    destination.port,
                    ssl=self._tls if destination.secure else None,
                    server_hostname=destination.host if destination.secure else None,
                    limit=LINE_LIMIT,
                )
            except OSError as error:
                failure = error
        raise failure

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()  # created only when needed, because this reads the system's certificates


def _head(destination: Destination, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [
        f"POST {destination.path} HTTP/1.1",
        f"host: {destination.authority}",
        "user-agent: ostinato-webhooks",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


async def _status(reader: asyncio.StreamReader) -> int:
    """Read the status of the final reply, after any interim ones such as 103 Early Hints.

    Raises ValueError if the reply is not valid HTTP, or if the interim replies are too many or too long.
    """
    left = INTERIM_BYTES  # received lines are read without yielding to the event loop, so their number is limited
    for _ in range(INTERIM_LIMIT):
        match = STATUS_LINE.fullmatch(line := await reader.readuntil())
        if match is None:
            raise ValueError
        status = int(match[1])
        if status >= 200:
            return status
        left -= len(line)
        while (header := await reader.readuntil()).strip():
            left -= len(header)
            if left < 0:
                raise ValueError
    raise ValueError


async def _leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read the rest of the reply, within limits, then close: some receivers fail if they cannot send all of it."""
    left = REST_LIMIT
    try:
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(REST_SECONDS):
                while left > 0 and (piece := await reader.read(left)):
                    left -= len(piece)
    finally:
        writer.close()


def _reason(error: Exception) -> str:
    """Return the reason for a failure, without revealing anything about this service's network."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of the endpoint is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "no TLS connection to the endpoint could be made"
    if isinstance(error, asyncio.IncompleteReadError | ConnectionResetError | BrokenPipeError):
        return "the endpoint closed the connection without a reply"
    if isinstance(error, ConnectionRefusedError):
        return "the endpoint refused the connection"
    if isinstance(error, OSError):
        return "cannot connect to the endpoint: its name has no address, or its address cannot be reached"
    return "the answer of the endpoint is not valid HTTP"

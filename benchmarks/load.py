"""A closed-loop HTTP load generator with little overhead: it uses raw keep-alive sockets and pre-encoded requests."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Figures:
    """The result of one run. `per_second`: successful requests; `p50` and `p99`: latencies in milliseconds."""

    requests: int
    errors: int
    per_second: float
    p50: float
    p99: float


def encode(url: str, body: bytes) -> bytes:
    """Encode a POST request, including its headers."""
    parts = urlsplit(url)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request, and return the status and the body of the reply."""
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        lower = head.lower()
        start = lower.index(b"content-length:") + 15
        size = int(lower[start : lower.index(b"\r\n", start)])
        return status, await self.reader.readexactly(size)


async def _run(url: str, requests: Sequence[bytes], connections: int, seconds: float, warm_up: float) -> Figures:
    parts = urlsplit(url)
    started = time.perf_counter()
    counted_from, until = started + warm_up, started + warm_up + seconds
    latencies: list[float] = []
    errors = 0
    following = iter(range(10**12))

    async def client() -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        connection = _Connection(reader, writer)
        while (begin := time.perf_counter()) < until:
            status, _ = await connection.ask(requests[next(following) % len(requests)])
            end = time.perf_counter()
            # Count the requests that end within the window, even if they began before it.
            if counted_from <= end <= until:
                errors += status != 200
                latencies.append((end - begin) * 1000)
        writer.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    latencies.sort()
    return Figures(
        requests=len(latencies),
        errors=errors,
        per_second=(len(latencies) - errors) / seconds,
        p50=statistics.median(latencies) if latencies else 0.0,
        p99=latencies[int(len(latencies) * 0.99) - 1] if latencies else 0.0,
    )


def load(url: str, bodies: Sequence[bytes], connections: int, seconds: float, warm_up: float = 2.0) -> Figures:
    """Send the bodies in turn to `url` for `seconds`, over `connections` keep-alive connections. Returns figures."""
    return asyncio.run(_run(url, [encode(url, b) for b in bodies], connections, seconds, warm_up))

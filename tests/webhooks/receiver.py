"""A real HTTP server that receives webhooks, for tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

LOOPBACK = "127.0.0.0/8,::1"  # a service that allows these networks reaches the receivers


@dataclass
class Received:
    """A request that a receiver has answered."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int


@dataclass
class Receiver:
    """Answers the first requests with `statuses`, and all later ones with 200. Runs during a `with` block.

    If `answer` is given, it writes the whole reply. It is called with the handler of the request.
    """

    statuses: Sequence[int] = ()
    answer: Callable[[BaseHTTPRequestHandler], None] | None = None
    received: list[Received] = field(default_factory=list)

    def __post_init__(self) -> None:
        receiver, lock = self, threading.Lock()
        left = list(self.statuses)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                with lock:
                    status = left.pop(0) if left else 200
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    receiver.received.append(Received(self.path, headers, body, status))
                if receiver.answer is not None:
                    receiver.answer(self)
                    return
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}/webhooks?from=ostinato"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def accepted(self) -> list[Received]:
        """The requests that were answered with 200."""
        return [request for request in self.received if request.status == 200]

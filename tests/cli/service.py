"""A stand-in for the service, on a real socket: canned replies, remembered requests."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Reply = tuple[int, Any]  # a status, and JSON, bytes, or a list of events for a stream


@dataclass
class Request:
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Service:
    """`routes`: "GET /path" -> a reply, a list of replies (each used once, the last for ever), or a function."""

    routes: dict[str, Any] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def reply(self, request: Request) -> Reply:
        self.requests.append(request)
        found = self.routes.get(f"{request.method} {request.path}")
        if found is None:
            return 404, {"error": {"message": f"no route {request.method} {request.path}", "code": "not_found"}}
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        reply: Reply = found(request) if callable(found) else found
        return reply

    def sent(self, route: str) -> list[Request]:
        return [r for r in self.requests if f"{r.method} {r.path}" == route]


def _handler(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.headers.get("transfer-encoding") == "chunked":
                body = _chunks(self.rfile)
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, content = service.reply(Request(self.command, path, query, headers, body))
            data = _encoded(content)
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = _answer

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _encoded(content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    if isinstance(content, Events):
        return "".join(f"data: {json.dumps(e)}\n\n" for e in content.events).encode() + b": ping\n\ndata: [DONE]\n\n"
    return json.dumps(content).encode()


def _chunks(stream: Any) -> bytes:
    body = b""
    while size := int(stream.readline(), 16):
        body += stream.read(size)
        stream.readline()
    stream.readline()
    return body


@dataclass
class Events:
    events: list[Any]


def listed(*items: Any) -> Reply:
    return 200, {"object": "list", "data": list(items), "has_more": False}


Route = Callable[[Request], Reply]

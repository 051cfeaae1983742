"""A fake service on a real socket, which sends canned replies and records the requests."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Reply = tuple[int, Any]  # a status, and JSON, bytes, or the events of a stream
VERSION: dict[str, Any] = {
    "model": "reviews", "version": 2, "status": "ready", "task": "classification", "architecture": "lstm",
    "digest": "d" * 64, "files": {"config.json": {"sha256": "a", "size": 1234}}, "parameters": 1_000_000,
    "metrics": {"test": {"accuracy": 0.75}}, "aliases": ["champion"], "owner": "local", "created_at": 0,
    "config": {"layers": 2, "width": 64}, "labels": ["bad", "good"],
}  # fmt: skip


@dataclass
class Request:
    """One recorded request."""

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
    """`routes`: "GET /path" -> a reply, a list of replies (each used once, the last one repeatedly), or a function."""

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
        route = self.routes.get(f"{request.method} {request.path}")
        if route is None:
            return 404, {"error": {"message": f"no route {request.method} {request.path}", "code": "not_found"}}
        if isinstance(route, list):
            route = route.pop(0) if len(route) > 1 else route[0]
        reply: Reply = route(request) if callable(route) else route
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
    """The content of a reply with server-sent events."""

    events: list[Any]


def listed(*items: Any) -> Reply:
    """A reply with a list that fits on one page."""
    return 200, {"object": "list", "data": list(items), "has_more": False}


def archive(**files: str) -> bytes:
    """A tar archive with these files: name -> content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


Route = Callable[[Request], Reply]

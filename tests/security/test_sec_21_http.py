"""SEC-21: endless headers, slow clients and idle connections use few resources and do not block other clients."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import httpx
import msgspec
import pytest

from app.api.http import protocol
from app.settings import Settings
from app.telemetry import request_failure
from tests.fakes import FakeEngine
from tests.security.attacks import resident_bytes
from tests.serving import Api, Shelf, wait_until

LIMIT = 16
SECRET = "alice-secret-1"
HOST = b"Host: localhost\r\n"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, max_connections=LIMIT, api_keys=f"alice:{SECRET}")


@pytest.fixture
def connections() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connect(api: Api, stack: ExitStack, sent: bytes = b"") -> socket.socket:
    host, port = api.url.removeprefix("http://").split(":")
    connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=20))
    connection.sendall(sent)
    return connection


def reply(connection: socket.socket) -> bytes:
    """Read until the service closes the connection, which may happen before it has read the whole request."""
    received = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            received += piece
    return received


def answers_others(api: Api, shelf: Shelf) -> None:
    with api.client(SECRET) as client:
        assert client.post("/v1/classify", json={"model": "mood", "input": "a"}).status_code == 200


@pytest.mark.parametrize(
    "head",
    [
        b"GET /livez HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: x\r\n" % n for n in range(200)) + b"\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"POST /v1/classify HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
        + b"X: " + b"x" * 200_000 + b"\r\n\r\n",
    ],
    ids=["one long header", "many headers", "a long path", "long trailers"],
)  # fmt: skip
def test_a_large_head_is_refused(api: Api, connections: ExitStack, head: bytes) -> None:
    answer = reply(connect(api, connections, head))
    assert answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 401"))  # the missing key may be found before the trailers
    assert b"headers_too_large" in answer or b"invalid_api_key" in answer


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /livez HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 100_000 + b"\r\n\r\n", b"HTTP/1.1 431"),
        (b"GET /livez HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: x\r\n" % n for n in range(200)), b"HTTP/1.1 431"),
        (b"GET /livez HTTP/1.1\r\nX: y", b"HTTP/1.1 408"),
    ],
    ids=["one long header", "many headers", "half a header"],
)
def test_a_later_request_on_a_connection_is_refused_like_the_first(
    api: Api, connections: ExitStack, monkeypatch: pytest.MonkeyPatch, head: bytes, status: bytes
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.5)
    connection = connect(api, connections, b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    connection.sendall(head)
    assert reply(connection).startswith(status)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"GET /livez HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: x\r\n" % n for n in range(200)), "headers_too_large"),
        (b"GET /livez HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 100_000, "headers_too_large"),
        (b"GET /livez HTTP/1.1\r\nX: y", "request_timeout"),
        (b"not HTTP\r\n\r\n", "invalid_http"),
    ],
    ids=["many headers", "one long header", "half a header", "not HTTP"],
)
def test_a_refusal_follows_the_replies_to_earlier_requests(
    api: Api, shelf: Shelf, engine: FakeEngine, connections: ExitStack, monkeypatch: pytest.MonkeyPatch,
    request_: bytes, code: str,
) -> None:  # fmt: skip
    shelf.classifier(owner="alice")
    answers_others(api, shelf)
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    engine.hold()
    body = msgspec.json.encode({"model": "mood", "input": "a"})
    head = f"POST /v1/classify HTTP/1.1\r\nAuthorization: Bearer {SECRET}\r\nContent-Length: {len(body)}\r\n"
    earlier = head.encode() + HOST + b"Content-Type: application/json\r\n\r\n" + body
    before = request_failure.totals().get((code,), 0)
    connection = connect(api, connections, earlier)
    wait_until(lambda: engine._held)
    connection.sendall(request_)
    wait_until(lambda: request_failure.totals().get((code,), 0) > before)
    engine.release()
    answer = reply(connection)
    assert answer.startswith(b"HTTP/1.1 200") and answer.count(b"HTTP/1.1 ") == 2
    assert code.encode() in answer.partition(b"HTTP/1.1 4")[2]


def test_a_refusal_follows_the_reply_to_a_head_request(api: Api, connections: ExitStack) -> None:
    both = b"HEAD /livez HTTP/1.1\r\n" + HOST + b"\r\nnot HTTP\r\n\r\n"
    answer = reply(connect(api, connections, both))
    assert answer.startswith(b"HTTP/1.1 200") and answer.count(b"HTTP/1.1 ") == 2


def test_an_endless_head_costs_nothing(api: Api, connections: ExitStack) -> None:
    before, began = resident_bytes(), time.process_time()
    connection = connect(api, connections, b"GET /livez HTTP/1.1\r\n" + HOST + b"X: ")
    with pytest.raises(OSError):
        for _ in range(2048):
            connection.sendall(b"x" * 65_536)
    assert time.process_time() - began < 5.0
    assert resident_bytes() - before < 64 * 2**20


def test_a_head_within_the_limits_is_accepted(api: Api, connections: ExitStack) -> None:
    headers = b"".join(b"X-%d: %s\r\n" % (n, b"x" * 600) for n in range(90))
    assert reply(connect(api, connections, b"GET /livez HTTP/1.1\r\nConnection: close\r\n" + HOST + headers + b"\r\n"))


def test_a_long_body_of_many_small_chunks_is_accepted(api: Api, connections: ExitStack) -> None:
    head = f"POST /v1/classify HTTP/1.1\r\nAuthorization: Bearer {SECRET}\r\nTransfer-Encoding: chunked\r\n"
    chunks = b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n"
    sent = head.encode() + b"Connection: close\r\nContent-Type: application/json\r\n" + HOST + b"\r\n" + chunks
    assert b"invalid_json" in reply(connect(api, connections, sent))


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b""),
        (b"GET /livez HT", b"HTTP/1.1 408"),
        (b"GET /livez HTTP/1.1\r\nX: y", b"HTTP/1.1 408"),
        (b"POST /v1/classify HTTP/1.1\r\n" + HOST + b"Authorization: Bearer " + SECRET.encode()
         + b"\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", b"HTTP/1.1 408"),
    ],
    ids=["nothing", "half a line", "half a header", "half a body"],
)  # fmt: skip
def test_a_client_that_stops_is_not_waited_for(
    api: Api, connections: ExitStack, monkeypatch: pytest.MonkeyPatch, sent: bytes, status: bytes
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(protocol, "BODY_SECONDS", 0.2)
    assert reply(connect(api, connections, sent)).startswith(status)


def test_a_trickle_is_not_progress(api: Api, connections: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.5)
    connection = connect(api, connections, b"GET /livez HTTP/1.1\r\n")
    stop = threading.Event()

    def trickle() -> None:
        while not stop.wait(0.02):
            connection.sendall(b"X")

    thread = threading.Thread(target=trickle, daemon=True)
    thread.start()
    try:
        assert connection.recv(65536).startswith(b"HTTP/1.1 408")
    except ConnectionResetError:  # a byte arrived after the connection was closed
        pass
    finally:
        stop.set()


def test_idle_connections_do_not_keep_others_out(
    api: Api, shelf: Shelf, engine: FakeEngine, connections: ExitStack
) -> None:
    shelf.classifier(owner="alice")
    for number in range(5 * LIMIT):
        connect(api, connections, b"GET /li" if number % 2 else b"")
        if number % LIMIT == 0:
            answers_others(api, shelf)
    answers_others(api, shelf)
    assert httpx.get(f"{api.url}/livez", timeout=20).status_code == 200


def test_busy_connections_leave_room_for_health(
    api: Api, shelf: Shelf, engine: FakeEngine, connections: ExitStack
) -> None:
    shelf.classifier(owner="alice")
    answers_others(api, shelf)
    engine.hold()
    body = msgspec.json.encode({"model": "mood", "input": "a"})
    head = f"POST /v1/classify HTTP/1.1\r\nAuthorization: Bearer {SECRET}\r\nContent-Length: {len(body)}\r\n"
    for _ in range(LIMIT):
        connect(api, connections, head.encode() + HOST + b"Content-Type: application/json\r\n\r\n" + body)
    deadline = time.monotonic() + 20
    while (refused := httpx.get(f"{api.url}/v1/models", timeout=20)).status_code != 503:
        assert time.monotonic() < deadline
    assert refused.json()["error"]["code"] == "too_many_connections"
    assert refused.headers["retry-after"] == "1"
    for _ in range(3):
        assert httpx.get(f"{api.url}/livez", timeout=20).status_code == 200
    engine.release()


def test_a_client_that_does_not_read_is_not_waited_for(
    api: Api, connections: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "WRITE_SECONDS", 0.2)
    request = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\n" + HOST + b"\r\n"
    host, port = api.url.removeprefix("http://").split(":")
    connection = connections.enter_context(socket.socket())
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(20)
    connection.connect((host, int(port)))
    with pytest.raises(OSError):
        while True:
            connection.sendall(request)

"""One request to an endpoint, with real sockets: what is sent, what is read, and what ends it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from app.access import networks
from app.webhooks.sender import Sender, Unanswered
from tests.webhooks.receiver import LOOPBACK, Receiver

CERTIFICATE = Path(__file__).with_name("receiver.pem")  # self-signed, for the name receiver.test
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
Script = Callable[[socket.socket], None]


@contextmanager
def scripted(script: Script) -> Iterator[int]:
    """Context manager with a server that runs `script` on each connection. Yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection = listener.accept()[0]
                with connection, suppress(OSError):
                    script(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def saying(*pieces: bytes) -> Script:
    """A script that reads a request, and sends these pieces as its answer."""

    def script(connection: socket.socket) -> None:
        connection.recv(65536)
        for piece in pieces:
            connection.sendall(piece)

    return script


def post(url: str | int, seconds: float = 20.0, allowed: str = LOOPBACK) -> int:
    address = f"http://127.0.0.1:{url}/x" if isinstance(url, int) else url
    return asyncio.run(Sender(networks(allowed), seconds).post(address, {"webhook-id": "evt-1"}, b'{"a":1}'))


def unanswered(url: str | int, **options: Any) -> str:
    with pytest.raises(Unanswered) as caught:
        post(url, **options)
    return str(caught.value)


def test_a_request_carries_the_headers_and_the_body() -> None:
    with Receiver([204]) as receiver:
        assert post(receiver.url) == 204
    [request] = receiver.received
    assert (request.path, request.body) == ("/webhooks?from=ostinato", b'{"a":1}')
    assert request.headers == {
        "host": f"127.0.0.1:{receiver.port}",
        "user-agent": "ostinato-webhooks",
        "content-type": "application/json",
        "content-length": "7",
        "connection": "close",
        "webhook-id": "evt-1",
    }


def test_a_redirect_is_not_followed() -> None:
    with (
        Receiver() as other,
        scripted(saying(f"HTTP/1.1 307 Moved\r\nlocation: {other.url}\r\ncontent-length: 0\r\n\r\n".encode())) as port,
    ):
        assert post(port) == 307
    assert other.received == []


@pytest.mark.parametrize(
    "reply",
    [
        OK,
        b"HTTP/1.0 200\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nlink: </b>\r\n\r\n" * 3 + OK,
        OK + b"x" * 5_000_000,
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 500_000,
    ],
)
def test_only_the_status_counts(reply: bytes) -> None:
    with scripted(saying(reply)) as port:
        assert post(port) == 200


def test_a_receiver_that_keeps_the_connection_open_does_not_delay_the_status() -> None:
    release = threading.Event()

    def script(connection: socket.socket) -> None:
        saying(OK)(connection)
        release.wait(60)

    with scripted(script) as port:
        assert post(port) == 200
        release.set()


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 999 OK\r\n\r\n",
        b"x" * 100_000,
        b"HTTP/1.1 200 " + b"x" * 100_000,
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000,
        b"HTTP/1.1 103 Early Hints\r\na: " + b"x" * 100_000,
        b"HTTP/1.1 103 Early Hints\r\n" + b"a\n" * 500_000,
    ],
)
def test_what_is_not_http_is_no_answer(reply: bytes) -> None:
    with scripted(saying(reply)) as port:
        assert unanswered(port) == "the answer of the endpoint is not valid HTTP"


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 200"])
def test_a_connection_that_is_closed_early_is_no_answer(reply: bytes) -> None:
    with scripted(saying(reply)) as port:
        assert unanswered(port) == "the endpoint closed the connection without a reply"


def test_the_time_is_bounded_whatever_the_receiver_does() -> None:
    stop = threading.Event()

    def silent(_: socket.socket) -> None:
        stop.wait(30)

    def drip(connection: socket.socket) -> None:
        while not stop.wait(0.01):
            connection.sendall(b"H")

    def hint(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\n")
        while not stop.wait(0.01):
            connection.sendall(b"a: b\r\n")

    for script in (silent, drip, hint):
        with scripted(script) as port:
            # Without a limit on the total time, each script would lead to another error.
            assert unanswered(port, seconds=0.3) == "the endpoint has not answered within 0.3 s"
            stop.set()
        stop.clear()


def test_the_reasons_reveal_nothing_about_the_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert unanswered(port) == "the endpoint refused the connection"
    assert "its name has no address" in unanswered("https://does-not-exist.invalid/")
    assert "OSTINATO_WEBHOOK_NETWORKS" in unanswered(port, allowed="")


def names(monkeypatch: pytest.MonkeyPatch, address: str = "127.0.0.1") -> list[str]:
    """Resolve every name to this address. Returns a list of the names that are looked up."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@contextmanager
def secure() -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    def script(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            wrapped.recv(65536)
            wrapped.sendall(OK)

    with scripted(script) as port:
        yield port


def test_the_certificate_must_be_that_of_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = names(monkeypatch)
    with secure() as port:
        assert "certificate of the endpoint is not valid: self-signed" in unanswered(f"https://receiver.test:{port}/")
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        assert post(f"https://receiver.test:{port}/") == 200
        assert "certificate of the endpoint is not valid: Hostname" in unanswered(f"https://other.test:{port}/")
        assert asked == ["receiver.test", "receiver.test", "other.test"]  # one look-up for each request
    with scripted(saying(OK)) as port:
        assert unanswered(f"https://receiver.test:{port}/") == "no TLS connection to the endpoint could be made"

"""Streams to clients of HTTP/1.0."""

from __future__ import annotations

import json
import socket

import pytest

from tests.serving import Api, Shelf


def exchange(api: Api, head: str, body: bytes = b"") -> tuple[str, bytes]:
    """Send a request. Returns the headers and the body of the reply, which ends with the connection."""
    host, port = api.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n".encode() + b"\r\n" + body)
        reply = b"".join(iter(lambda: connection.recv(65536), b""))
    headers, _, content = reply.partition(b"\r\n\r\n")
    return headers.decode().lower(), content


def test_a_stream_has_no_chunks(api: Api, shelf: Shelf) -> None:
    shelf.generator("echo")
    body = json.dumps({"model": "echo", "prompt": "abc", "max_tokens": 5, "stream": True}).encode()
    headers, content = exchange(api, "POST /v1/completions HTTP/1.0\r\nContent-Type: application/json", body)
    assert "transfer-encoding" not in headers and "content-length" not in headers and "connection: close" in headers
    lines = content.decode().split("\n\n")
    assert lines[-2] == "data: [DONE]" and all(line.startswith("data: ") for line in lines[:-1])
    texts = [json.loads(line.removeprefix("data: "))["choices"][0]["text"] for line in lines[:-2]]
    assert "".join(texts) == "abcab"


@pytest.mark.parametrize("path", ["/livez", "/v1/models", "/openapi.json", "/metrics", "/nowhere"])
def test_other_replies_keep_their_length(api: Api, path: str) -> None:
    headers, content = exchange(api, f"GET {path} HTTP/1.0")
    assert f"content-length: {len(content)}" in headers and "transfer-encoding" not in headers


def test_http_1_1_streams_are_chunked(api: Api, shelf: Shelf) -> None:
    shelf.generator("echo")
    with api.client() as client:
        body = {"model": "echo", "prompt": "abc", "max_tokens": 5, "stream": True}
        assert client.post("/v1/completions", json=body).headers["transfer-encoding"] == "chunked"

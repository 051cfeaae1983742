"""HEAD works on every path with GET, and `Allow` lists all methods of a path."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from app.storage.blobs import BlobStore
from tests.serving import Api, Shelf


@pytest.mark.parametrize(
    "path",
    [
        "/", "/docs", "/openapi.json", "/livez", "/readyz", "/metrics", "/v1/models", "/v1/models/mood:1", "/v1/files",
        "/v1/registry/models/mood/versions/1/export", "/v1/registry/models/mood/versions/1/files/config.json",
        "/v1/registry/models/nobody",
    ],
)  # fmt: skip
def test_head_is_get_without_a_body(api: Api, shelf: Shelf, path: str) -> None:
    shelf.classifier("mood")
    with api.client() as client:
        head, get = client.head(path), client.get(path)
        assert head.status_code == get.status_code and head.content == b""
        varying = {"date", "x-request-id", "x-total-time", "transfer-encoding", "content-length"}
        assert set(head.headers) - varying == set(get.headers) - varying
        if path != "/metrics":  # which counts the requests
            assert head.headers.get("content-length") == get.headers.get("content-length")
        assert client.get("/livez").status_code == 200  # on the same connection


def test_a_download_that_only_head_asked_for_is_not_read(
    api: Api, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.classifier("mood")
    pieces: list[int] = []

    def read(store: BlobStore, sha256: str) -> Iterator[bytes]:
        for number in range(1000):
            pieces.append(number)
            yield b"x" * 1000

    monkeypatch.setattr(BlobStore, "open", read)
    with api.client() as client:
        assert client.head("/v1/registry/models/mood/versions/1/files/config.json").status_code == 200
        assert client.get("/livez").status_code == 200
    assert len(pieces) < 5


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PATCH", "/v1/files", "GET, HEAD, POST"),
        ("PUT", "/v1/models/mood:1", "DELETE, GET, HEAD"),
        ("POST", "/v1/registry/models/mood/aliases/champion", "DELETE, PUT"),
        ("GET", "/v1/classify", "POST"),
        ("HEAD", "/v1/classify", "POST"),
        ("TRACE", "/livez", "GET, HEAD"),
        ("OPTIONS", "/openapi.json", "GET, HEAD"),
    ],
)
def test_allow_lists_every_method(api: Api, method: str, path: str, allow: str) -> None:
    reply = httpx.request(method, api.url + path)
    assert (reply.status_code, reply.headers["allow"]) == (405, allow)

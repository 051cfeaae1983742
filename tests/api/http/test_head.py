"""HEAD works on every path with GET, and `Allow` lists all methods of a path."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from app.storage.blobs import BlobStore
from tests.serving import Api, Shelf

UNDOCUMENTED = ("/", "/docs", "/openapi.json")
PARAMETERS = {  # values with which paths lead to existing objects; other parameters have the value `x`
    "name": "mood", "model": "mood", "model_id": "mood", "model_name": "mood", "reference": "mood:1", "version": "1",
    "model_version": "1", "number": "1", "path": "config.json",
}  # fmt: skip
COUNTING = ("/metrics", "/v1/engine", "/v2/models")  # the bodies of these routes depend on earlier requests or the time


def documented_paths(api: Api) -> dict[str, set[str]]:
    """The methods of each documented path, whose parameters are replaced with values."""
    paths: dict[str, dict[str, object]] = httpx.get(f"{api.url}/openapi.json", timeout=60).json()["paths"]
    return {
        re.sub(r"{(\w+)}", lambda match: PARAMETERS.get(match[1], "x"), path): {method.upper() for method in operations}
        for path, operations in paths.items()
    }


def test_head_is_get_without_a_body(api: Api, shelf: Shelf) -> None:
    shelf.classifier("mood")
    paths = [path for path, methods in documented_paths(api).items() if "GET" in methods]
    assert len(paths) > 40
    statuses = Counter[int]()
    with api.client() as client:
        for path in (*UNDOCUMENTED, *paths, "/v1/registry/models/nobody"):
            head, get = client.head(path), client.get(path)
            statuses[get.status_code] += 1
            assert head.status_code == get.status_code and head.content == b"", path
            varying = {"date", "x-request-id", "x-total-time", "transfer-encoding", "content-length"}
            assert set(head.headers) - varying == set(get.headers) - varying, path
            if not path.startswith(COUNTING):
                assert head.headers.get("content-length") == get.headers.get("content-length"), path
        assert client.get("/livez").status_code == 200  # on the same connection
    assert statuses[200] > 40


def test_allow_lists_every_method_of_every_documented_path(api: Api, shelf: Shelf) -> None:
    shelf.classifier("mood")
    paths = documented_paths(api)
    assert len(paths) > 100
    with api.client() as client:
        for path, methods in paths.items():
            expected = methods | ({"HEAD"} if "GET" in methods else set())
            reply = client.request("TRACE", path)
            assert (reply.status_code, reply.headers["allow"]) == (405, ", ".join(sorted(expected))), path


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

"""Compressed request bodies on real sockets are decoded within the limits, regardless of how they are split."""

from __future__ import annotations

import gzip
import socket
import zlib
from collections.abc import Callable, Iterator

import httpx
import msgspec
import pytest
from backports import zstd

from app.api.http.encodings import PIECE, GzipDecoder, ZstdDecoder
from app.settings import Settings
from tests.serving import Api, Shelf

CODERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress}
BODY = msgspec.json.encode({"model": "mood", "input": "good day"})
JSON = {"content-type": "application/json"}
MEBI = 2**20


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, max_body_bytes=MEBI)


def post(api: Api, content: bytes | Iterator[bytes], encoding: str, path: str = "/v1/classify") -> httpx.Response:
    with api.client() as client:
        return client.post(path, content=content, headers={**JSON, "content-encoding": encoding})


def exchange(api: Api, head: bytes, *parts: bytes) -> bytes:
    """Send the head of a request, and then each part as soon as data has arrived. Returns all received data."""
    host, port = api.url.removeprefix("http://").split(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + head)
        for part in parts:
            received += connection.recv(65536)
            connection.sendall(part)
        while piece := connection.recv(65536):
            received += piece
    return received


@pytest.mark.parametrize("encoding", CODERS)
def test_a_compressed_body_is_read_like_a_plain_one(api: Api, shelf: Shelf, encoding: str) -> None:
    shelf.classifier()
    plain = post(api, BODY, "identity").json()["data"]
    coded = CODERS[encoding](BODY)
    several = b"".join(map(CODERS[encoding], (BODY[:5], BODY[5:], b"")))  # several gzip members or zstd frames
    for content in (coded, several, iter([coded[:1], coded[1:7], coded[7:]]), (bytes([byte]) for byte in coded)):
        reply = post(api, content, encoding.upper())
        assert reply.status_code == 200 and reply.json()["data"] == plain, reply.text
    with api.client() as client:  # routes that FastAPI calls, and forms
        upload = client.post(
            "/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.csv", b"text,label\na,b\n")}
        )
        form = upload.request.read()
        headers = {"content-type": upload.request.headers["content-type"], "content-encoding": encoding}
        again = client.post("/v1/files", content=CODERS[encoding](form), headers=headers)
        assert again.json()["bytes"] == upload.json()["bytes"] == 15, again.text
        assert client.get("/v1/models", headers={"content-encoding": encoding}).status_code == 200


@pytest.mark.parametrize("encoding", CODERS)
@pytest.mark.parametrize("announced", [True, False])
def test_the_decoded_size_is_limited(api: Api, shelf: Shelf, encoding: str, announced: bool) -> None:
    shelf.classifier()
    allowed = BODY + b" " * (MEBI - len(BODY))
    assert post(api, CODERS[encoding](allowed), encoding).status_code == 200
    bomb = CODERS[encoding](allowed + b" ")
    assert len(bomb) < 20_000
    reply = post(api, bomb if announced else iter([bomb]), encoding)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_large")
    empty = CODERS[encoding](b"")
    assert post(api, empty * (MEBI // len(empty) + 1), encoding).status_code == 413  # the encoded size is limited, too
    assert post(api, empty * 1000 + CODERS[encoding](BODY), encoding).json()["error"]["code"] == "invalid_encoding"
    assert post(api, empty * 90 + CODERS[encoding](BODY), encoding).status_code == 200


@pytest.mark.parametrize("encoding", CODERS)
def test_damaged_and_incomplete_data_is_refused(api: Api, encoding: str) -> None:
    coded = CODERS[encoding](BODY)
    turned = bytes([*coded[:-4], coded[-4] ^ 1, *coded[-3:]])  # damages the checksum of gzip
    bad = [b"plain", coded[:-1], coded[:4], coded + b"rest", *([turned] if encoding == "gzip" else [])]
    for content in bad:
        reply = post(api, content, encoding)
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_encoding"), content
    assert "is empty" in post(api, b"", encoding).json()["error"]["message"]
    assert post(api, b"plain", encoding, "/v1/systemone").status_code == 422


@pytest.mark.parametrize("encoding", ["br", "gzip, zstd", "é"])
def test_other_encodings_are_refused_by_name(api: Api, encoding: str) -> None:
    reply = exchange(api, b"Content-Encoding: " + encoding.encode("latin-1") + b"\r\nContent-Length: 1\r\n\r\nx")
    assert reply.startswith(b"HTTP/1.1 415 ") and b"compressed with gzip, deflate or zstd" in reply


def test_deflate_is_decoded_and_checked(api: Api, shelf: Shelf) -> None:
    shelf.classifier()
    coded = zlib.compress(BODY)
    for content in (coded, iter([coded[:1], coded[1:7], coded[7:]])):
        assert post(api, content, "deflate").status_code == 200
    for damaged in (b"plain", coded[:-1], coded + b"rest", coded + coded):
        assert post(api, damaged, "deflate").json()["error"]["code"] == "invalid_encoding"
    bomb = zlib.compress(bytes(3 * MEBI))
    assert post(api, bomb, "deflate").status_code == 413


@pytest.mark.parametrize("kind", [GzipDecoder, ZstdDecoder])
def test_a_step_decodes_a_bounded_number_of_bytes(kind: type[GzipDecoder | ZstdDecoder]) -> None:
    coder = gzip.compress if kind is GzipDecoder else zstd.compress
    decoder = kind()
    sizes = list(map(len, decoder.pieces(coder(bytes(5 * MEBI)))))
    assert sum(sizes) == 5 * MEBI and max(sizes) <= PIECE and decoder.complete


def test_a_zstd_window_beyond_8_mib_is_refused(api: Api) -> None:
    options = {zstd.CompressionParameter.window_log: 24, zstd.CompressionParameter.content_size_flag: 0}
    compressor = zstd.ZstdCompressor(options=options)
    wide = compressor.compress(BODY) + compressor.flush()
    assert post(api, wide, "zstd").json()["error"]["code"] == "invalid_encoding"


@pytest.mark.parametrize("encoding", ["identity", *CODERS])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_client_may_wait_for_100_continue(api: Api, shelf: Shelf, encoding: str, chunked: bool) -> None:
    shelf.classifier()
    content = CODERS.get(encoding, bytes)(BODY)
    size = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(content)
    if chunked:
        content = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
    head = b"Content-Encoding: %b\r\nExpect: 100-continue\r\n%b\r\n\r\n" % (encoding.encode(), size)
    reply = exchange(api, head, content)
    assert reply.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), reply


def test_a_body_that_will_be_refused_is_not_asked_for(api: Api) -> None:
    for line, status in ((b"Content-Length: %d" % (MEBI + 1), b"413"), (b"Content-Encoding: br", b"415")):
        reply = exchange(
            api,
            line + b"\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
            if status == b"415"
            else line + b"\r\nExpect: 100-continue\r\n\r\n",
        )
        assert reply.startswith(b"HTTP/1.1 %b " % status), reply

"""Blobs in an S3 bucket, which is simulated by a small HTTP server."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from app.storage.blobs import BlobStore
from app.storage.errors import BlobMissing, StorageUnavailable

HELLO = hashlib.sha256(b"hello").hexdigest()


class Bucket(BaseHTTPRequestHandler):
    """Implements the part of the S3 protocol that the blob store uses, with objects in a dictionary."""

    objects: dict[str, bytes]
    puts: list[tuple[str, str | None]]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def reply(self, status: int, body: bytes = b"", length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("Last-Modified", formatdate(usegmt=True))
        self.send_header("ETag", '"x"')
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        data, condition = self.rfile.read(int(self.headers["Content-Length"])), self.headers.get("If-None-Match")
        self.puts.append((self.path, condition))
        if condition == "*" and self.path in self.objects:
            self.reply(412)
            return
        self.objects[self.path] = data
        self.reply(200)

    def do_HEAD(self) -> None:
        data = self.objects.get(self.path)
        self.reply(404) if data is None else self.reply(200, length=len(data))

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if "list-type" in parts.query:
            self.reply(200, self.listing(parse_qs(parts.query)["prefix"][0]))
            return
        data = self.objects.get(self.path)
        self.reply(404) if data is None else self.reply(200, data)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        deleted = ""
        for path in list(self.objects):
            if (key := path.removeprefix("/bucket/")) in body:
                del self.objects[path]
                deleted += f"<Deleted><Key>{key}</Key></Deleted>"
        self.reply(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())

    def listing(self, prefix: str) -> bytes:
        contents = "".join(
            f"<Contents><Key>{path.removeprefix('/bucket/')}</Key><Size>{len(data)}</Size>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for path, data in self.objects.items()
            if path.startswith(f"/bucket/{prefix}")
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>".encode()


@pytest.fixture
def bucket() -> Iterator[type[Bucket]]:
    class Fresh(Bucket):
        objects: dict[str, bytes] = {}  # noqa: RUF012
        puts: list[tuple[str, str | None]] = []  # noqa: RUF012

    server = ThreadingHTTPServer(("127.0.0.1", 0), Fresh)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    Fresh.port = server.server_port  # type: ignore[attr-defined]
    yield Fresh
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def store(bucket: type[Bucket], monkeypatch: pytest.MonkeyPatch) -> BlobStore:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{bucket.port}")  # type: ignore[attr-defined]
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return BlobStore("s3://bucket/some/prefix")


def test_blobs_are_stored_in_a_bucket(store: BlobStore, bucket: type[Bucket], tmp_path: Path) -> None:
    assert store.put_bytes(b"hello") == HELLO
    key = f"/bucket/some/prefix/sha256/{HELLO[:2]}/{HELLO}"
    assert bucket.objects == {key: b"hello"}
    assert bucket.puts == [(key, "*")]
    assert b"".join(store.open(HELLO)) == b"hello"
    store.fetch(HELLO, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"hello"
    assert [(blob.sha256, blob.size) for blob in store.list()] == [(HELLO, 5)]
    store.put_bytes(b"hello")
    assert len(bucket.puts) == 1
    store.delete(HELLO)
    assert bucket.objects == {}
    with pytest.raises(BlobMissing):
        store.open(HELLO)


def test_a_bucket_that_refuses_access_is_reported(
    store: BlobStore, bucket: type[Bucket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "do_HEAD", lambda self: self.reply(403))
    with pytest.raises(StorageUnavailable):
        store.put_bytes(b"hello")

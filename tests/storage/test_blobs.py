"""In a folder and in other stores, blobs are stored completely, found by hash, and verified when they are read."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import TooLarge
from app.settings import SettingError
from app.storage import blobs
from app.storage.blobs import ONE_PUT, BlobStore
from app.storage.errors import BlobCorrupt, BlobMissing, StorageUnavailable

HELLO = hashlib.sha256(b"hello").hexdigest()


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return BlobStore("memory:///" if request.param == "memory" else (tmp_path / "with space" / "blobs").as_uri())


def test_stored_bytes_are_read_back(store: BlobStore, tmp_path: Path) -> None:
    assert store.put_bytes(b"hello") == HELLO
    assert b"".join(store.open(HELLO)) == b"hello"
    assert store.put_stream(iter([b"hel", b"", b"lo"]), 5) == (HELLO, 5)
    (tmp_path / "a").write_bytes(b"")
    empty = store.put_file(tmp_path / "a")
    assert b"".join(store.open(empty)) == b""
    assert sorted((b.sha256, b.size) for b in store.list()) == sorted([(HELLO, 5), (empty, 0)])


def test_large_blobs_are_stored(store: BlobStore, tmp_path: Path) -> None:
    data = os.urandom(2**20) * (ONE_PUT // 2**20 + 1)
    (tmp_path / "big").write_bytes(data)
    sha256 = store.put_file(tmp_path / "big")
    assert sha256 == hashlib.sha256(data).hexdigest()
    store.fetch(sha256, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data


@pytest.mark.parametrize("size", [5, ONE_PUT + 1])
def test_a_file_that_is_rewritten_while_it_is_stored_gets_the_hash_of_its_new_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = tmp_path / "weights"
    old, new = b"a" * size, b"b" * size
    path.write_bytes(old)
    hash_of = blobs._hash

    def hash_then_write(path: Path) -> str:
        digest = hash_of(path)
        path.write_bytes(new)
        return digest

    monkeypatch.setattr(blobs, "_hash", hash_then_write)
    store = BlobStore("memory:///", tmp_path / "scratch")
    sha256 = store.put_file(path)
    assert sha256 == hashlib.sha256(new).hexdigest()
    assert b"".join(store.open(sha256)) == new
    assert [blob.sha256 for blob in store.list()] == [sha256]


def test_a_scratch_file_is_stored_without_a_copy(store: BlobStore, tmp_path: Path) -> None:
    with store.scratch(tmp_path / "scratch") as file:
        file.write(b"hello")
        assert store.put_stream([b"hello"], 5, file) == (HELLO, 5)
        inode = file.path.stat().st_ino if file.path.exists() else os.fstat(file.fileno()).st_ino
    assert b"".join(store.open(HELLO)) == b"hello"
    stored = [path.stat().st_ino for path in tmp_path.rglob("*") if path.is_file()]
    assert stored == ([inode] if (tmp_path / "with space").exists() else [])  # no copy for a bucket is left


def test_nothing_of_a_bucket_passes_through_the_temporary_folder_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    store = BlobStore("memory:///", tmp_path / "scratch")
    assert store.put_bytes(b"hello") == HELLO
    (tmp_path / "weights").write_bytes(b"weights")
    (tmp_path / "scratch").rmdir()  # a file is sent from where it is, without a copy
    assert b"".join(store.open(store.put_file(tmp_path / "weights"))) == b"weights"
    assert not (tmp_path / "scratch").exists()
    assert store.free_bytes() > 0


def test_the_folder_for_temporary_files_is_created_when_it_is_needed(tmp_path: Path) -> None:
    store = BlobStore("memory:///", tmp_path / "absent")
    with store.scratch(tmp_path / "run") as file:
        file.write(b"hello")
        assert store.put_stream([b"hello"], 5, file) == (HELLO, 5)


def test_missing_blobs_are_reported(store: BlobStore, tmp_path: Path) -> None:
    store.put_bytes(b"hello")
    store.delete(HELLO)
    store.delete(HELLO)
    assert not store.exists(HELLO) and list(store.list()) == []
    with pytest.raises(BlobMissing):
        store.open(HELLO)
    with pytest.raises(BlobMissing):
        store.fetch(HELLO, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_only_hashes_are_keys(store: BlobStore, name: str) -> None:
    with pytest.raises(BlobMissing):
        store.open(name)


def test_a_stream_beyond_the_limit_leaves_nothing(store: BlobStore, tmp_path: Path) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1000)

    with pytest.raises(TooLarge):
        store.put_stream(endless(), 5000)
    assert list(store.list()) == []
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_damage_is_detected_and_repaired_by_putting_again(tmp_path: Path) -> None:
    store = BlobStore(tmp_path.as_uri())
    store.put_bytes(b"hello")
    (tmp_path / "sha256" / HELLO[:2] / HELLO).write_bytes(b"jello")
    with pytest.raises(BlobCorrupt):
        store.fetch(HELLO, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    store.put_bytes(b"hello")
    assert b"".join(store.open(HELLO)) == b"hello"


def test_putting_again_renews_the_modification_time(tmp_path: Path) -> None:
    store = BlobStore(tmp_path.as_uri())
    store.put_bytes(b"hello")
    os.utime(tmp_path / "sha256" / HELLO[:2] / HELLO, (1.0, 1.0))
    blob = store.stat(HELLO)
    assert blob is not None and blob.modified == 1.0
    store.put_bytes(b"hello")
    blob = store.stat(HELLO)
    assert blob is not None and abs(blob.modified - time.time()) < 60


def test_folders_are_private(tmp_path: Path) -> None:
    store = BlobStore((tmp_path / "blobs").as_uri())
    store.put_bytes(b"hello")
    for path in (tmp_path / "blobs").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("bucket", [False, True])
def test_interrupted_uploads_are_removed(tmp_path: Path, bucket: bool) -> None:
    store = BlobStore("memory:///", tmp_path) if bucket else BlobStore(tmp_path.as_uri())
    (tmp_path / ("" if bucket else "incoming") / "ostinato-old").write_bytes(b"half")
    assert store.sweep(3600.0) == 0
    assert store.sweep(-1.0) == 1
    assert list(store.list()) == []


def test_many_threads_can_put_the_same_bytes(store: BlobStore) -> None:
    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(store.put_bytes(b"hello"))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [HELLO] * 16
    assert b"".join(store.open(HELLO)) == b"hello"


@pytest.mark.parametrize("url", ["gopher://example/x", "s3://", "file:///proc/version/blobs"])
def test_an_unusable_url_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(SettingError, match="OSTINATO_STORAGE_URL") as caught:
        BlobStore(url)
    assert "\n" not in caught.value.message and "Debug" not in caught.value.message


def test_a_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = BlobStore(tmp_path.as_uri())

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageUnavailable, match="disk is full"):
        store.put_bytes(b"hello")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []

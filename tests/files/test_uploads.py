"""Uploads in parts, on both databases."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event, update

from app.db.tables import FileRow
from app.errors import InvalidRequest, NotFound, TooLarge, Unavailable
from app.files.service import Files
from app.files.uploads import Uploads
from app.storage.blobs import BlobStore


@pytest.fixture
def uploads(files: Files) -> Uploads:
    return Uploads(files)


def test_parts_become_a_file(uploads: Uploads, files: Files) -> None:
    upload = uploads.begin("alice", "../big.csv", "fine-tune", 6, expires_after=7200)
    assert (upload.status, upload.filename, upload.file) == ("pending", "big.csv", None)
    second = uploads.add_part(upload.id, "alice", [b"d", b"ef"], 10)
    first = uploads.add_part(upload.id, "alice", [b"abc"], 10)
    assert files.list("alice").items == []
    md5 = hashlib.md5(b"abcdef", usedforsecurity=False).hexdigest()
    done = uploads.complete(upload.id, "alice", [first.id, second.id], md5.upper())
    assert done.status == "completed" and done.file is not None
    file, pieces = files.content(done.file.id, "alice")
    assert b"".join(pieces) == b"abcdef" and file.owner == "alice" and file.format == "csv"
    assert file.expires_at == file.created_at + 7200
    assert [listed.id for listed in files.list("alice").items] == [file.id]


def test_a_single_part_becomes_the_file_without_a_copy(
    uploads: Uploads, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = uploads.begin("alice", "x.csv", "fine-tune", 30)
    part = uploads.add_part(upload.id, "alice", [b"text,label\n", b"a,yes\nb,no\nc,"], 100)
    with pytest.raises(InvalidRequest, match="24 bytes in total"):
        uploads.complete(upload.id, "alice", [part.id])
    upload = uploads.begin("alice", "x.csv", "fine-tune", 24)
    part = uploads.add_part(upload.id, "alice", [b"text,label\n", b"a,yes\nb,no\nc,"], 100)
    monkeypatch.setattr(BlobStore, "put_stream", lambda *_: pytest.fail("copied"))
    monkeypatch.setattr(BlobStore, "free_bytes", lambda _: 0)
    done = uploads.complete(upload.id, "alice", [part.id], hashlib.md5(b"text,label\na,yes\nb,no\nc,").hexdigest())
    assert done.file is not None and done.file.bytes == 24
    assert b"".join(files.content(done.file.id, "alice")[1]) == b"text,label\na,yes\nb,no\nc,"
    with files.database.read() as session:
        row = session.get(FileRow, done.file.id)
        assert row is not None and (row.row_count, row.column_names) == (3, ["text", "label"])


def test_parts_that_would_fill_the_disk_are_kept_until_there_is_room(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = uploads.begin("alice", "x", "fine-tune", 6)
    ids = [uploads.add_part(upload.id, "alice", [text], 10).id for text in (b"abc", b"def")]
    with monkeypatch.context() as patch:
        patch.setattr(BlobStore, "free_bytes", lambda _: 5)
        patch.setattr(BlobStore, "put_stream", lambda *_: pytest.fail("written"))
        with pytest.raises(Unavailable, match=r"requires 6 bytes .* only 5 are free; .*POST /v1/files") as caught:
            uploads.complete(upload.id, "alice", ids)
    assert caught.value.code == "storage_unavailable" and uploads._blobs.free_bytes() > 6
    assert uploads.complete(upload.id, "alice", ids).status == "completed"


@pytest.mark.parametrize("pieces", [[b"\x89PNG\r\n"], [b"\x89P", b"NG\r\n"]])
def test_parts_of_a_picture_are_refused(pieces: list[bytes], uploads: Uploads, files: Files) -> None:
    upload = uploads.begin("alice", "pic.png", "fine-tune", sum(map(len, pieces)))
    ids = [uploads.add_part(upload.id, "alice", [piece], 10).id for piece in pieces]
    with pytest.raises(InvalidRequest, match=r"pic\.png is a picture; upload a text or a table") as caught:
        uploads.complete(upload.id, "alice", ids)
    assert (caught.value.code, caught.value.param) == ("unsupported_file", "part_ids")
    assert files.list("alice").items == []


def test_wrong_parts_are_refused(uploads: Uploads) -> None:
    upload = uploads.begin("alice", "x", "fine-tune", 3)
    with pytest.raises(TooLarge):
        uploads.add_part(upload.id, "alice", [b"abc"], 2)
    with pytest.raises(NotFound):
        uploads.add_part(upload.id, "bob", [b"abc"], 10)
    part = uploads.add_part(upload.id, "alice", [b"abc"], 10)
    with pytest.raises(InvalidRequest, match="MD5"):
        uploads.complete(upload.id, "alice", [part.id], "0" * 32)
    with pytest.raises(InvalidRequest, match="6 bytes"):
        uploads.complete(upload.id, "alice", [part.id, part.id])
    assert uploads.cancel(upload.id, "alice").status == "cancelled"
    with pytest.raises(InvalidRequest, match="cancelled"):
        uploads.complete(upload.id, "alice", [part.id])


def test_the_garbage_collection_keeps_the_parts_of_a_pending_upload(uploads: Uploads, files: Files) -> None:
    from app.registry import garbage

    upload = uploads.begin("alice", "x", "fine-tune", 3)
    part = uploads.add_part(upload.id, "alice", [b"abc"], 10)
    garbage.collect(files.database, files.blobs, -3600.0, dry_run=False)
    assert garbage.check(files.database, files.blobs, deep=True).ok
    assert uploads.complete(upload.id, "alice", [part.id]).file is not None


def test_parts_beyond_the_announced_size_are_refused(uploads: Uploads, files: Files) -> None:
    upload = uploads.begin("alice", "x", "fine-tune", 5)
    first = uploads.add_part(upload.id, "alice", [b"abc"], 10)
    with pytest.raises(InvalidRequest, match="contain 6 bytes, but the upload declared 5 bytes") as caught:
        uploads.add_part(upload.id, "alice", [b"def"], 10)
    assert (caught.value.code, caught.value.param) == ("upload_too_large", "data")
    second = uploads.add_part(upload.id, "alice", [b"de"], 10)
    assert uploads.complete(upload.id, "alice", [first.id, second.id]).status == "completed"


def test_a_part_that_is_sent_again_is_added_once(uploads: Uploads, files: Files) -> None:
    """A client repeats a part if the reply was lost, and a file may contain equal parts."""
    upload = uploads.begin("alice", "x", "fine-tune", 7)
    first = uploads.add_part(upload.id, "alice", [b"abc"], 10)
    assert uploads.add_part(upload.id, "alice", [b"a", b"bc"], 10) == first
    last = uploads.add_part(upload.id, "alice", [b"d"], 10)
    done = uploads.complete(upload.id, "alice", [first.id, first.id, last.id])
    assert done.file is not None
    assert b"".join(files.content(done.file.id, "alice")[1]) == b"abcabcd"


@contextmanager
def loaded_rows() -> Iterator[list[str]]:
    """The ids of the rows that are loaded in the block."""
    ids: list[str] = []

    def note(row: FileRow, _context: object) -> None:
        ids.append(row.id)

    event.listen(FileRow, "load", note)
    try:
        yield ids
    finally:
        event.remove(FileRow, "load", note)


def test_a_part_is_added_without_loading_the_others(uploads: Uploads) -> None:
    """An upload has up to 1,000 parts. If each new part loaded all earlier ones, half a million rows would be read."""
    upload = uploads.begin("alice", "x", "fine-tune", 62)
    for number in range(30):
        uploads.add_part(upload.id, "alice", [b"%02d" % number], 10)
    with loaded_rows() as ids:
        uploads.add_part(upload.id, "alice", [b"30"], 10)
    assert set(ids) == {upload.id}


def test_expired_uploads_are_deleted(uploads: Uploads, files: Files) -> None:
    expired, pending = (uploads.begin("alice", "x", "fine-tune", 3) for _ in range(2))
    uploads.add_part(expired.id, "alice", [b"abc"], 10)
    assert files.delete_expired() == 0
    with files.database.transaction() as session:
        session.execute(update(FileRow).where(FileRow.id != pending.id).values(expires_at=1.0))
    assert files.delete_expired() == 2
    with pytest.raises(NotFound):
        uploads.cancel(expired.id, "alice")
    assert uploads.cancel(pending.id, "alice").status == "cancelled"


def test_a_part_whose_blob_was_collected_must_be_uploaded_again(uploads: Uploads, files: Files) -> None:
    """Garbage collection may run between the upload of the blob and the transaction that adds the row."""
    upload = uploads.begin("alice", "x", "fine-tune", 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BlobStore, "exists", lambda *_: False)
        with pytest.raises(Unavailable, match="upload them again"):
            uploads.add_part(upload.id, "alice", [b"abc"], 10)
    part = uploads.add_part(upload.id, "alice", [b"abc"], 10)
    assert uploads.complete(upload.id, "alice", [part.id]).status == "completed"

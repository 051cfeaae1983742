"""Uploads in parts, on both databases."""

from __future__ import annotations

import hashlib

import pytest
from sqlalchemy import update

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
    found, pieces = files.content(done.file.id, "alice")
    assert b"".join(pieces) == b"abcdef" and found.owner == "alice" and found.format == "csv"
    assert found.expires_at == found.created_at + 7200
    assert [file.id for file in files.list("alice").items] == [found.id]


def test_what_is_refused(uploads: Uploads) -> None:
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


def test_the_collection_spares_what_is_being_sent(uploads: Uploads, files: Files) -> None:
    from app.registry import garbage

    upload = uploads.begin("alice", "x", "fine-tune", 3)
    part = uploads.add_part(upload.id, "alice", [b"abc"], 10)
    garbage.collect(files.database, files.blobs, -3600.0, dry_run=False)
    assert garbage.check(files.database, files.blobs, deep=True).ok
    assert uploads.complete(upload.id, "alice", [part.id]).file is not None


def test_no_more_is_taken_than_was_announced(uploads: Uploads, files: Files) -> None:
    upload = uploads.begin("alice", "x", "fine-tune", 5)
    first = uploads.add_part(upload.id, "alice", [b"abc"], 10)
    with pytest.raises(InvalidRequest, match="6 bytes; 5 were announced") as caught:
        uploads.add_part(upload.id, "alice", [b"def"], 10)
    assert (caught.value.code, caught.value.param) == ("upload_too_large", "data")
    second = uploads.add_part(upload.id, "alice", [b"de"], 10)
    assert uploads.complete(upload.id, "alice", [first.id, second.id]).status == "completed"


def test_a_part_that_is_sent_again_is_the_same(uploads: Uploads, files: Files) -> None:
    """A client repeats a part whose reply was lost; and a file may hold the same piece twice."""
    upload = uploads.begin("alice", "x", "fine-tune", 7)
    first = uploads.add_part(upload.id, "alice", [b"abc"], 10)
    assert uploads.add_part(upload.id, "alice", [b"a", b"bc"], 10) == first
    last = uploads.add_part(upload.id, "alice", [b"d"], 10)
    done = uploads.complete(upload.id, "alice", [first.id, first.id, last.id])
    assert done.file is not None
    assert b"".join(files.content(done.file.id, "alice")[1]) == b"abcabcd"


def test_uploads_past_their_time_are_forgotten(uploads: Uploads, files: Files) -> None:
    late, open_one = (uploads.begin("alice", "x", "fine-tune", 3) for _ in range(2))
    uploads.add_part(late.id, "alice", [b"abc"], 10)
    assert files.delete_expired() == 0
    with files.database.transaction() as session:
        session.execute(update(FileRow).where(FileRow.id != open_one.id).values(expires_at=1.0))
    assert files.delete_expired() == 2
    with pytest.raises(NotFound):
        uploads.cancel(late.id, "alice")
    assert uploads.cancel(open_one.id, "alice").status == "cancelled"


def test_a_part_whose_bytes_were_collected_is_asked_for_again(uploads: Uploads, files: Files) -> None:
    """Between its last byte and its row."""
    upload = uploads.begin("alice", "x", "fine-tune", 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BlobStore, "exists", lambda *_: False)
        with pytest.raises(Unavailable, match="upload them again"):
            uploads.add_part(upload.id, "alice", [b"abc"], 10)
    part = uploads.add_part(upload.id, "alice", [b"abc"], 10)
    assert uploads.complete(upload.id, "alice", [part.id]).status == "completed"

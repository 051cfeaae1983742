"""Uploaded files are stored, listed, kept while a job uses them, and visible only to their owner."""

from __future__ import annotations

import gzip
import threading
from pathlib import Path

import pytest
from sqlalchemy import Text, and_, cast, func, select, text, update

from app.db.database import Database
from app.db.tables import FileRow, JobRow, ModelRow, ProbesRow, VersionRow
from app.errors import InvalidRequest, NotFound, TooLarge
from app.files import repository
from app.files.records import StoredFile, clean_name, format_of
from app.files.service import Files
from app.storage.blobs import BlobStore
from tests.jobs.fixtures import until

GATE = 7  # an advisory lock of PostgreSQL


def upload(files: Files, name: str = "a.csv", owner: str = "alice", **options: object) -> StoredFile:
    return files.create(owner, name, "fine-tune", iter([b"text,label\n", b"a,b\n"]), **options)  # type: ignore[arg-type]


def job(files: Files, file: StoredFile, status: str, id_: str = "ftjob-1") -> None:
    with files.database.transaction() as session:
        session.add(
            JobRow(
                id=id_,
                owner=file.owner,
                status=status,
                phase="",
                body_sha256="",
                request={},
                model="lstm",
                training_file=file.id,
                seed=1,
                publish_name="x",
                created_at=0.0,
            )
        )


@pytest.mark.parametrize(
    ("name", "start", "message"),
    [
        ("pic.png", b"\x89PNG\r\n\x1a\n", "is a picture; upload a text or a table"),
        ("rows.csv", b"GIF89a", "is a picture; upload a text or a table"),
        ("a.pdf", b"%PDF-1.7", "is a PDF document; upload its text, or a table"),
        ("a.wav", b"RIFF\x24\x08\x00\x00WAVEfmt ", "is a sound file; upload a text or a table"),
        ("a.mp4", b"\x00\x00\x00\x20ftypisom", "is a sound or video file, or a picture; upload a text or a table"),
        ("a", b"\x7fELF\x02\x01", "is a program; upload a text or a table"),
        ("a.exe", b"MZ\x90\x00\x00\x00", "is a program; upload a text or a table"),
        ("a.csv.gz", gzip.compress(b"\xff\xd8\xff\xe0" + b"x" * 5000), "is a picture; upload a text or a table"),
    ],
)  # fmt: skip
def test_a_file_without_text_or_a_table_is_refused(files: Files, name: str, start: bytes, message: str) -> None:
    content = start + b"\x00" * 600
    pieces = [content[:3], content[3:9], content[9:]]
    with pytest.raises(InvalidRequest) as caught:
        files.create("alice", name, "fine-tune", iter(pieces))
    assert (caught.value.code, caught.value.param, caught.value.message) == (
        "unsupported_file",
        "file",
        f"{name} {message}",
    )
    assert files.list("alice").items == []
    assert files.create("alice", name, "user_data", iter(pieces)).bytes == len(content)


@pytest.mark.parametrize(
    "content",
    [b"MZ,label\na,b\n", b"BM is short\n", gzip.compress(b"text,label\na,b\n"), "text\nörtlich\n".encode("utf-16"),
     b"PAR1" + b"\x00" * 20, b"PK\x03\x04" + b"\x00" * 30, b"a"],
)  # fmt: skip
def test_a_file_that_may_be_data_is_stored(files: Files, content: bytes) -> None:
    file = files.create("alice", "a.csv", "fine-tune", iter([content]))
    assert b"".join(files.content(file.id, "alice")[1]) == content


def test_an_upload_can_be_read_back(files: Files, tmp_path: Path) -> None:
    made = upload(files)
    assert (made.bytes, made.status, made.format, made.filename) == (15, "processed", "csv", "a.csv")
    assert files.get(made.id, "alice") == made
    file, pieces = files.content(made.id, "alice")
    assert file == made and b"".join(pieces) == b"text,label\na,b\n"
    files.fetch(made, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"text,label\na,b\n"


def test_an_upload_beyond_the_limit_is_refused(files: Files) -> None:
    with pytest.raises(TooLarge):
        upload(files, limit=14)
    assert files.list("alice").items == []
    assert upload(files, limit=15).bytes == 15


def test_bad_options_are_refused(files: Files) -> None:
    with pytest.raises(InvalidRequest, match="purpose"):
        files.create("alice", "a", "../x", iter([b""]))
    with pytest.raises(InvalidRequest, match="expires_after"):
        upload(files, expires_after=5)


def test_files_are_listed_in_pages(files: Files) -> None:
    made = [upload(files, f"{i}.csv").id for i in range(5)]
    other = files.create("alice", "r.csv", "user_data", iter([b"x"])).id
    assert [f.id for f in files.list("alice").items] == [other, *reversed(made)]
    page = files.list("alice", limit=2, order="asc", purpose="fine-tune")
    assert ([f.id for f in page.items], page.has_more) == (made[:2], True)
    page = files.list("alice", limit=3, order="asc", purpose="fine-tune", after=made[1])
    assert ([f.id for f in page.items], page.has_more) == (made[2:], False)
    assert [f.id for f in files.list("alice", after=made[1]).items] == [made[0]]
    with pytest.raises(InvalidRequest):
        files.list("alice", limit=0)
    with pytest.raises(InvalidRequest):
        files.list("alice", order="sideways")


def test_sec_11_other_principals_see_nothing(files: Files) -> None:
    made = upload(files)
    assert files.list("bob").items == []
    for attempt in (files.get, files.content, files.delete):
        with pytest.raises(NotFound):
            attempt(made.id, "bob")
    with pytest.raises(NotFound):
        files.list("bob", after=made.id)
    assert files.get(made.id, "local") == made


@pytest.mark.parametrize("id_", ["", "file-1", "file-\0", "../x", "\ud800", "x" * 10_000])
def test_strange_ids_are_not_found(files: Files, id_: str) -> None:
    with pytest.raises(NotFound):
        files.get(id_, "alice")


@pytest.mark.parametrize("status", ["queued", "running", "paused"])
def test_a_file_in_use_is_kept(files: Files, status: str) -> None:
    made = upload(files)
    job(files, made, status)
    with pytest.raises(InvalidRequest) as caught:
        files.delete(made.id, "alice")
    assert caught.value.code == "file_in_use" and "ftjob-1" in caught.value.message
    with files.database.transaction() as session:
        session.execute(update(JobRow).values(status="failed"))
    files.delete(made.id, "alice")
    with pytest.raises(NotFound):
        files.get(made.id, "alice")


@pytest.mark.parametrize("expires", [False, True])
def test_probes_from_a_file_are_deleted_with_it(files: Files, expires: bool) -> None:
    used, other = upload(files), upload(files, "b.csv")
    job(files, used, "succeeded", "ftjob-1")
    job(files, other, "succeeded", "ftjob-2")
    with files.database.transaction() as session:
        for name, job_id in (("used", "ftjob-1"), ("other", "ftjob-2")):
            session.add(ModelRow(name=name, owner="alice", created_at=0.0))
            session.flush()
            version = VersionRow(
                model=name, version=1, owner="alice", status="ready", task="classification", architecture="lstm",
                digest=name, files={}, config={}, parameters=1, metrics={}, job_id=job_id, created_at=0.0,
            )  # fmt: skip
            session.add(version)
            session.add(ProbesRow(digest=name, owner="alice", sha256=name, bytes=1, created_at=0.0))
        if expires:
            session.execute(update(FileRow).where(FileRow.id == used.id).values(expires_at=1.0))
    if expires:
        assert files.delete_expired() == 1
    else:
        files.delete(used.id, "alice")
    with files.database.read() as session:
        assert list(session.scalars(select(ProbesRow.digest))) == ["other"]


def test_an_expired_file_is_not_found(files: Files) -> None:
    made, used, kept = upload(files, expires_after=3600), upload(files, expires_after=3600), upload(files)
    job(files, used, "running")
    assert files.delete_expired() == 0
    with files.database.transaction() as session:
        session.execute(update(FileRow).where(FileRow.id != kept.id).values(expires_at=1.0))
    with pytest.raises(NotFound):
        files.get(made.id, "alice")
    assert [f.id for f in files.list("alice").items] == [kept.id]
    assert files.delete_expired() == 1


@pytest.mark.postgres
def test_an_expired_file_is_kept_for_a_job_that_is_created_at_the_same_time(
    postgres_database: Database, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, real = Files(postgres_database, blobs), repository.deletable
    used, other = upload(files, expires_after=3600), upload(files, expires_after=3600)
    with files.database.transaction() as session:
        session.execute(update(FileRow).values(expires_at=1.0))
    wait = cast(func.pg_advisory_xact_lock_shared(GATE), Text) == ""
    deleted: list[int] = []
    deleter = threading.Thread(target=lambda: deleted.append(files.delete_expired()))
    with files.database.transaction() as gate:
        gate.execute(select(func.pg_advisory_xact_lock(GATE)))
        # The deletion waits inside its query: after the query's snapshot, and before the rows are locked.
        monkeypatch.setattr(repository, "deletable", lambda now: and_(real(now), wait))
        deleter.start()
        waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        until(lambda: gate.scalar(waiting))
        monkeypatch.undo()
        job(files, used, "queued")
    deleter.join(60)
    assert deleted == [1]
    with files.database.read() as session:
        assert repository.get(session, used.id) is not None and repository.get(session, other.id) is None


def test_results_are_recorded_in_the_callers_transaction(files: Files) -> None:
    sha256 = files.blobs.put_bytes(b"step\n")
    with pytest.raises(ZeroDivisionError), files.database.transaction() as session:
        files.record(session, "alice", "results.csv", "fine-tune-results", sha256, 5)
        _ = 1 / 0
    assert files.list("alice").items == []
    with files.database.transaction() as session:
        made = files.record(session, "alice", "results.csv", "fine-tune-results", sha256, 5)
        assert files.get(made.id, "alice", session) == made
        assert files.hold(session, made.id, "alice") == made
    assert files.get(made.id, "alice") == made


@pytest.mark.parametrize(
    ("given", "name", "format_"),
    [
        ("data.csv", "data.csv", "csv"),
        ("DATA.TSV.GZ", "DATA.TSV.GZ", "tsv.gz"),
        ("a.jsonl", "a.jsonl", "jsonl"),
        ("a.parquet", "a.parquet", "parquet"),
        ("book.txt", "book.txt", "text"),
        ("a.bin", "a.bin", None),
        ("../../etc/passwd", "passwd", None),
        ("C:\\x\\a.csv", "a.csv", "csv"),
        ("a\x00\n\x1b[31m.csv", "a[31m.csv", "csv"),
        ("..", "file", None),
        ("", "file", None),
    ],
)
def test_names_are_reduced_to_labels(given: str, name: str, format_: str | None) -> None:
    assert (clean_name(given), format_of(clean_name(given))) == (name, format_)


def test_long_names_keep_their_end() -> None:
    name = clean_name("é" * 5000 + ".csv")
    assert name.endswith(".csv") and len(name.encode()) <= 255

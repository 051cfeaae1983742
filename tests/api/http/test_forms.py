"""Multipart requests: where an uploaded file is stored while it is read, and what happens if the disk is full."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.api.http.forms import SentFile
from tests.serving import Api

MIB = 2**20


def test_a_file_is_written_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that the form parser writes becomes the blob, so the data folder never contains two copies."""
    inodes: list[int] = []
    pieces = SentFile.pieces
    blobs = api.settings.data / "blobs"

    def record(sent: SentFile) -> Iterator[bytes]:
        yield from pieces(sent)
        assert sum(path.stat().st_size for path in blobs.rglob("*") if path.is_file()) == len(content)
        inodes.append(sent.file.path.stat().st_ino)

    monkeypatch.setattr(SentFile, "pieces", record)
    content = b"text,label\n" + b"x" * 3 * MIB
    with api.client() as client:
        files = {"file": ("large.csv", content)}
        reply = client.post("/v1/files", data={"purpose": "fine-tune"}, files=files)
        assert reply.status_code == 200, reply.text
        assert client.get(f"/v1/files/{reply.json()['id']}/content").content == content
    [blob] = [path for path in blobs.rglob("*") if path.is_file()]
    assert inodes == [blob.stat().st_ino]


def test_a_refused_file_leaves_nothing(api: Api) -> None:
    with api.client() as client:
        reply = client.post("/v1/files", data={"purpose": "Not A Purpose"}, files={"file": ("a.csv", b"x" * MIB)})
        assert reply.status_code == 400, reply.text
    assert not [path for path in (api.settings.data / "blobs").rglob("*") if path.is_file()]


def test_a_part_of_an_upload_is_written_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    inodes: list[int] = []
    pieces = SentFile.pieces

    def record(sent: SentFile) -> Iterator[bytes]:
        yield from pieces(sent)
        inodes.append(sent.file.path.stat().st_ino)

    monkeypatch.setattr(SentFile, "pieces", record)
    with api.client() as client:
        announced = {"filename": "a.csv", "purpose": "fine-tune", "bytes": MIB, "mime_type": "text/csv"}
        upload = client.post("/v1/uploads", json=announced).json()["id"]
        reply = client.post(f"/v1/uploads/{upload}/parts", files={"data": ("part", b"x" * MIB)})
        assert reply.status_code == 200, reply.text
    assert inodes[0] in [path.stat().st_ino for path in (api.settings.data / "blobs").rglob("*")]


def test_a_full_disk_is_told_while_the_form_is_read(api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def on_a_full_disk(**_options: object) -> tuple[int, str]:
        return os.open("/dev/full", os.O_RDWR), str(tmp_path / "full")

    monkeypatch.setattr(tempfile, "mkstemp", on_a_full_disk)
    with api.client() as client:
        reply = client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.csv", b"x" * 3 * MIB)})
    assert reply.status_code == 503 and reply.json()["error"]["message"] == "the disk is full"
    assert reply.headers["retry-after"] == "60"

"""Multipart requests: where an uploaded file is kept while it is read."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from app.api.http.forms import SentFile
from tests.serving import Api

MIB = 2**20


def test_a_large_file_is_kept_in_the_data_folder_while_it_is_read(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's temporary folder is often in memory."""
    paths: list[str] = []
    pieces = SentFile.pieces

    def record_path(sent: SentFile) -> Iterator[bytes]:
        paths.append(os.readlink(f"/proc/self/fd/{sent.file.fileno()}"))
        return pieces(sent)

    monkeypatch.setattr(SentFile, "pieces", record_path)
    content = b"text,label\n" + b"x" * 3 * MIB
    with api.client() as client:
        files = {"file": ("large.csv", content)}
        reply = client.post("/v1/files", data={"purpose": "fine-tune"}, files=files)
        assert reply.status_code == 200, reply.text
        assert client.get(f"/v1/files/{reply.json()['id']}/content").content == content
    assert len(paths) == 1 and paths[0].startswith(f"{api.settings.data}/")
    assert paths[0].endswith(" (deleted)")  # so it is gone with the process, however that ends

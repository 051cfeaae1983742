"""`ostinato files`: upload, download and delete."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.conftest import Run
from tests.cli.service import Service


def test_files_are_uploaded_downloaded_and_deleted(service: Service, ostinato: Run, tmp_path: Any) -> None:
    (tmp_path / "a.csv").write_text("text\n")
    service.routes |= {
        "POST /v1/files": (200, {"id": "file-1"}),
        "GET /v1/files/file-1/content": (200, b"text\n"),
        "DELETE /v1/files/file-1": (200, {"deleted": True}),
    }
    assert ostinato("files", "upload", "a.csv").out == "uploaded a.csv as file-1\n"
    assert ostinato("files", "download", "file-1", "-o", "b.csv").out == "saved b.csv (5 B)\n"
    assert (tmp_path / "b.csv").read_text() == "text\n"
    assert ostinato("files", "download", "file-1").out == "text\n"
    assert ostinato("files", "download", "file-1", "--output", "-").out == "text\n"
    assert not (tmp_path / "-").exists()
    saved = ostinato("files", "download", "file-1", "-o", "c.csv", "--json").out
    assert json.loads(saved) == {"id": "file-1", "path": "c.csv", "bytes": 5}
    for target in ([], ["--output", "-"]):
        refused = ostinato("files", "download", "file-1", "--json", *target)
        assert (refused.status, refused.out) == (1, "") and "--output" in refused.err
    assert ostinato("files", "delete", "file-1").out == "file-1 is deleted\n"

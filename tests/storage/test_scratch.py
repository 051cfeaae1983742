"""A temporary file that can become a blob."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from app.storage.errors import StorageUnavailable
from app.storage.scratch import Scratch


def test_closing_removes_the_file(tmp_path: Path) -> None:
    with Scratch(tmp_path) as file:
        assert file.write(b"hello") == 5
        assert file.path.read_bytes() == b"hello" and file.path.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.iterdir())
    file.close()


def test_a_moved_file_is_kept(tmp_path: Path) -> None:
    with Scratch(tmp_path) as file:
        file.write(b"hello")
        file.path.rename(tmp_path / "kept")
        file.seek(0)
        assert file.read() == b"hello"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_missing_folder_is_an_outage(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable):
        Scratch(tmp_path / "missing")


def test_a_full_disk_is_reported_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Closing the file does not raise the error again."""

    def on_a_full_disk(**_options: object) -> tuple[int, str]:
        return os.open("/dev/full", os.O_RDWR), str(tmp_path / "full")

    monkeypatch.setattr(tempfile, "mkstemp", on_a_full_disk)
    with pytest.raises(StorageUnavailable, match="disk is full"), Scratch(tmp_path) as file:
        file.write(b"hello")
    assert file.closed

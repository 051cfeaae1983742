"""Random access to data files, compressed or not."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.training.data.files import Source
from app.training.data.seekable import seekable
from app.training.failures import BadData


def test_a_plain_file_is_not_copied(tmp_path: Path) -> None:
    with seekable(Source(tmp_path / "a", "a", "parquet", gzip=False)) as content:
        assert content == tmp_path / "a"


def test_a_compressed_file_is_unpacked_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"hello"))
    with seekable(Source(path, "a.gz", "parquet", gzip=True)) as content:
        assert not isinstance(content, Path)
        content.seek(1)
        assert content.read() == b"ello"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(10_000)))
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1000))
    with (
        pytest.raises(BadData, match=r"a\.gz has more than 500 bytes when decompressed"),
        seekable(Source(path, "a.gz", "parquet", gzip=True)),
    ):
        pass

"""Compressed Parquet files are unpacked on disk."""

from __future__ import annotations

import gzip
from pathlib import Path

from tests.training.data.tables import ROWS, parquet, read, write


def test_unpacking_leaves_no_file(tmp_path: Path) -> None:
    path = write(tmp_path, "a.parquet.gz", gzip.compress(parquet()))
    assert len(read(path)[1]) == len(ROWS)
    assert list(tmp_path.iterdir()) == [path]

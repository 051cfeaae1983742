"""A file has one remark of each kind and place, regardless of how often it is read."""

from __future__ import annotations

from pathlib import Path

from app.training.data.files import Source


def test_a_remark_replaces_an_earlier_one_of_its_kind_and_place() -> None:
    source = Source(Path("a.csv"), "a.csv", "csv", gzip=False)
    source.remark("encoding", "is read as cp1252")
    source.remark("empty_rows", "an empty row", "line 3")
    source.remark("empty_rows", "an empty row", "line 3", count=2, level="warn")
    assert [remark.to_dict() for remark in source.remarks] == [
        {"kind": "encoding", "message": "a.csv is read as cp1252", "where": "", "count": 1, "level": "info"},
        {
            "kind": "empty_rows",
            "message": "a.csv, line 3: an empty row",
            "where": "line 3",
            "count": 2,
            "level": "warn",
        },
    ]

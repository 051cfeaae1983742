"""CSV and TSV: errors of quoting and of the header are reported with line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.data.tables import assert_fault, write


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("a.csv", "text,label\nx,y,z\n", ["line 2", "column 3", "3 cells where the header has 2"]),
        ("a.csv", "text,label\nx,y\nz\n", ["line 3", "'label'", "a cell is missing"]),
        ("a.csv", 'text,label\nx,y\n"open,y\nx,y\n', ["line 3", "column 'text'", "malformed CSV", "never closed"]),
        (
            "a.csv",
            'text,label\nx,y\n"two\nlines","open\n',
            ["line 4", "column 'label'", "malformed CSV", "never closed"],
        ),
        ("a.csv", 'text,label\n"x" z,y\n', ["line 2", "column 'text'", "malformed CSV", "written twice"]),
        ("a.csv", 'text,label\n"a ""b""",y\nx,"y"z\n', ["line 3", "column 'label'", "malformed CSV"]),
        ("a.csv", "text,text\nx,y\n", ["line 1", "'text'", "2 times"]),
        ("a.csv", "features,label\n[1;y\n", ["line 2", "'label'", "a cell is missing"]),
    ],
)
def test_faults_are_reported_with_their_place(
    name: str, content: str | bytes, parts: list[str], tmp_path: Path
) -> None:
    assert_fault(write(tmp_path, name, content), *parts)

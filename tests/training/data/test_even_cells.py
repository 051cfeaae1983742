"""Tables without a header are recognised by their cells, with and without quotes."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.training.data.checking import check_files
from app.training.data.even_cells import count_cells
from tests.training.data.tables import write

LONG = "film, number {n} was long; but the actors played well, and the music was good"


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ('"' + LONG + '","{label}"', "2 cells separated by commas"),
        ('"{label}","' + LONG + '"', "2 cells separated by commas"),
        ('{number},"' + LONG + '"', "2 cells separated by commas"),
        ('{number}; "' + LONG + '"', "2 cells separated by ';'"),
        ('"{number}","{n}","Mon Apr 06 2009","NO_QUERY","user_{n}","' + LONG + '"', "6 cells separated by commas"),
        ('"He said ""no"", and left in film {n}","{label}"', "2 cells separated by commas"),
        ('"film {n},\nin two lines, with a comma","{label}"', "2 cells separated by commas"),
        ('"film\t{n}"\t"{label}"', "2 cells separated by tabs"),
        ('{n},"' + LONG + '",', "2 cells separated by commas"),
    ],
)
def test_quoted_cells_with_delimiters_are_asked_about(line: str, cells: str, tmp_path: Path) -> None:
    content = "\n".join(line.format(n=n, label=("pos", "neg", "other")[n % 3], number=4 * (n % 2)) for n in range(400))
    path = write(tmp_path, "a.txt", content)
    error = check_files(path).error
    assert error is not None and error.param == "task" and cells in error.message
    assert check_files(path, task="generation").error is None


def test_a_few_uneven_lines_do_not_hide_a_table(tmp_path: Path) -> None:
    rows = [f"film {n}\tgood" for n in range(40)]
    assert count_cells([*rows, "a\tb\tc", "no cells"], "\t") == 2
    assert count_cells([*rows, *["no cells"] * 10], "\t") == 0
    assert count_cells([f"one{n}, two" for n in range(40)], ",") == 0
    assert count_cells([f'"one{n}", "two"' for n in range(40)], ",") == 2
    assert count_cells([f"statement {n};" for n in range(40)], ";") == 0
    assert count_cells(rows[:9], "\t") == 0


def test_long_lines_are_read_quickly() -> None:
    lines = ['"' + "x, " * 50_000, '"","' * 50_000, '""' * 100_000 + "x", " " * 100_000 + '"'] * 5
    assert count_cells(lines, ",") == 0

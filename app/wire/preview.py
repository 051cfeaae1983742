"""The first rows of a data file, which the preview program prints and the API returns."""

from __future__ import annotations

import msgspec

ROWS, COLUMNS, CELL, LINE = 6, 100, 300, 1000  # the maximum numbers of rows and columns, and of characters


class DetectedRoles(msgspec.Struct, frozen=True):
    """The task and the column of each role, such as text and label, for a request that names neither.

    If `guessed` is true, such a request would be rejected: it must name these columns, which were guessed from their
    contents.
    """

    task: str
    columns: dict[str, str | list[str]]
    guessed: bool


class Preview(msgspec.Struct, frozen=True):
    """The first rows of a data file. `format` is the format in which the trainer reads the file.

    For a table, `rows` contains the cells of each row as texts, in the order of `columns`. A file without columns, or a
    table that cannot be read, has `lines` instead. `problem` states why a table cannot be read, or is null. `detected`
    is null if the roles of the columns are unknown.
    """

    format: str
    columns: list[str] | None
    rows: list[list[str]]
    lines: list[str]
    problem: str | None = None
    detected: DetectedRoles | None = None

"""Reports the hidden rows of an Excel sheet, such as those that a filter hides; they are read like other rows."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from typing import IO, Any

from app.training.data.files import Source
from app.wording import counted

_BLOCK = 1 << 20
_LONGEST_TAG = 1 << 12
_HIDDEN = re.compile(rb'<(?:\w+:)?row\b(?=[^>]*\bhidden="(?:1|true)")([^>]*[^/])>\s*<(?:\w+:)?c\b')  # with a cell
_NUMBER = re.compile(rb'\br="(\d+)"')


def remark_hidden_rows(source: Source, workbook: IO[bytes], sheet: Any) -> None:
    """Warn about the rows that Excel does not show. `sheet` is the sheet of the open workbook, in read-only mode."""
    rows = list(_hidden(workbook, sheet._worksheet_path))
    if rows:
        verb, pronoun = ("is", "it") if len(rows) == 1 else ("are", "them")
        message = f"{counted(len(rows), 'row')} {verb} hidden in Excel, for example by a filter, but {verb} read; "
        message += f"to leave {pronoun} out, delete {pronoun}, or copy the visible rows to a new sheet"
        source.remark("hidden_rows", message, rows[0], len(rows), "warn")


def _hidden(workbook: IO[bytes], path: str) -> Iterator[str]:
    """Yield the place of each hidden row that has cells."""
    with zipfile.ZipFile(workbook) as archive, archive.open(path.lstrip("/")) as content:
        for match in _matches(content):
            number = _NUMBER.search(match[1])
            yield f"row {int(number[1])}" if number else ""


def _matches(content: IO[bytes]) -> Iterator[re.Match[bytes]]:
    """Yield each start of a hidden row. Reads the sheet in blocks, because it may be large."""
    text = b""
    while block := content.read(_BLOCK):
        text += block
        end = 0
        for match in _HIDDEN.finditer(text):
            end = match.end()
            yield match
        text = text[max(end, len(text) - _LONGEST_TAG) :]

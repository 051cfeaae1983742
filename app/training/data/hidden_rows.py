"""Finds the rows of an Excel sheet that are hidden, for example by a filter. Hidden rows are read like all others."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

from app.training.data.files import Source
from app.wording import quantity

_BLOCK = 1 << 20
_LONGEST_TAG = 1 << 12
_ROW = re.compile(rb"<(?:\w+:)?row\b([^>]*)>")
_NUMBER = re.compile(rb'\br="(\d+)"')
_HIDDEN = re.compile(rb'\bhidden="(?:1|true)"')


def hidden_rows(workbook: IO[bytes], sheet: Any) -> frozenset[int]:
    """Return the numbers of the rows, from 1, that Excel does not show.

    `sheet` is a sheet of `workbook` that openpyxl has opened in read-only mode. Reads the whole sheet. If the workbook
    is damaged, raises the errors of `zipfile` and `zlib`.
    """
    with zipfile.ZipFile(workbook) as archive, archive.open(sheet._worksheet_path.lstrip("/")) as content:
        return frozenset(_hidden(content))


def remark_hidden_rows(source: Source, rows: Sequence[int]) -> None:
    """Warn about hidden rows that are read."""
    verb, pronoun = ("is", "it") if len(rows) == 1 else ("are", "them")
    message = f"{quantity(len(rows), 'row')} {verb} hidden in Excel, for example by a filter, but {verb} read; "
    message += f"to leave {pronoun} out, delete {pronoun}, or copy the visible rows to a new sheet"
    source.remark("hidden_rows", message, f"row {rows[0]}", len(rows), "warn")


def _hidden(content: IO[bytes]) -> Iterator[int]:
    number = 0
    for attributes in _rows(content):
        match = _NUMBER.search(attributes)
        number = int(match[1]) if match else number + 1
        if _HIDDEN.search(attributes):
            yield number


def _rows(content: IO[bytes]) -> Iterator[bytes]:
    """Yield the attributes of each row. Reads the sheet in blocks, because it may be large."""
    text = b""
    while block := content.read(_BLOCK):
        text += block
        end = 0
        for match in _ROW.finditer(text):
            end = match.end()
            yield match[1]
        text = text[max(end, len(text) - _LONGEST_TAG) :]

"""Reads a sheet of an Excel workbook (.xlsx) as records.

A workbook is a zip archive of XML files, so a small file can unpack to a large one. Therefore, the sizes declared in
the archive are checked first; `zipfile` never reads more data than is declared. Rows are streamed, but the strings of
the workbook, which Excel stores in one list, are kept in memory.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, time
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

from openpyxl import load_workbook

from app.training.data.files import (
    Record,
    Selection,
    Source,
    check_repeated,
    first_columns,
)
from app.training.data.hidden_rows import hidden_rows, remark_hidden_rows
from app.training.data.inner_headers import InnerHeaders
from app.training.data.last_comments import Row, is_unusable, without_comments
from app.training.data.seekable import seekable
from app.training.data.sheets import choose_sheet, other_sheets
from app.training.data.usual_names import TITLE_ROWS, header_after_title, quoted
from app.training.failures import BadData
from app.wording import quantity

WORKBOOK = "xl/workbook.xml"  # a zip archive with this member is a workbook
STRINGS = "xl/sharedStrings.xml"
MOST_STRINGS, MOST_SHEET, MOST_OTHER = 1 << 28, 1 << 32, 1 << 24  # maximum sizes in bytes of a member of the archive
MOST_ROWS, MOST_COLUMNS = 1 << 20, 1 << 14  # the limits of Excel
MOST_CELLS = 10**8  # the maximum number of cells in a sheet, including empty ones
MIDNIGHT = time(0)

SheetRow = tuple[int, tuple[Any, ...]]  # the number of the row in the sheet, from 1, and its values


def is_workbook(source: Source) -> bool:
    """Whether the file is a zip archive that contains a workbook."""
    try:
        with seekable(source) as content, zipfile.ZipFile(content) as archive:
            return WORKBOOK in archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def header(source: Source) -> list[str]:
    """Return the column names in the header. Unnamed columns are left out, and repeated names are listed once."""
    with _opened_sheet(source) as (_, sheet):
        rows = _stream(source, sheet)
        return list(dict.fromkeys(filter(None, _names(source, rows)[0])))


def records(source: Source, selection: Selection) -> Iterator[Record]:
    """Yield every record, with the cached results of formulas. Skips empty rows, and headers between the rows.

    Raises BadData, with the row, if the sheet cannot be read.
    """
    return without_comments(source, _rows(source, selection), selection.required is not None)


def _rows(source: Source, selection: Selection) -> Iterator[Row[Record]]:
    with _opened_sheet(source) as (file, sheet):
        hidden = _hidden(source, file, sheet)
        names, rows = _names(source, _stream(source, sheet))
        check_repeated(source, names, selection)
        # A whole row includes a first column without a name: the index of a pandas table, which identifies the rows.
        kept = {name: index for name, index in first_columns(names).items() if name or (selection.whole and index == 0)}
        required = [position for position, name in enumerate(kept) if selection.is_required(name)]
        outside: list[int] = []
        unseen: list[int] = []  # hidden rows
        headers = InnerHeaders(source, list(kept))
        for number, values in rows:
            if all(map(_is_blank, values)):
                continue
            where = f"row {number}"
            record = Record(where, {name: _cell(values, index) for name, index in kept.items()})
            if (instead := headers.instead_of([str(value) for value in record.values.values()], where)) is not None:
                yield from ((replacement, where, (), False) for replacement in instead)
                continue
            if any(not _is_blank(value) and _is_unnamed(names, index, kept) for index, value in enumerate(values)):
                outside.append(number)
            if number in hidden:
                unseen.append(number)
            texts = ["" if value is None else str(value) for value in record.values.values()]
            yield record, where, texts, is_unusable(texts, required)
        headers.remark()
        _remark_hidden_and_unnamed(source, unseen, outside)


def _remark_hidden_and_unnamed(source: Source, unseen: Sequence[int], outside: Sequence[int]) -> None:
    """Warn about the hidden rows, and about the rows with values in columns without a name."""
    if unseen:
        remark_hidden_rows(source, unseen)
    if outside:
        verb = "has" if len(outside) == 1 else "have"
        message = f"{quantity(len(outside), 'row')} {verb} values in columns without a name; these values are not read"
        source.remark("unnamed_columns", message, f"row {outside[0]}", len(outside), "warn")


def _names(source: Source, rows: Iterator[SheetRow]) -> tuple[list[str], Iterator[SheetRow]]:
    """Return the column names, and the rows after the header. A title before the header is not read."""
    sample = list(islice((row for row in rows if not all(map(_is_blank, row[1]))), TITLE_ROWS))
    if not sample:
        raise source.fault("the sheet is empty; its first row must name the columns" + other_sheets(source))
    shown = [["" if _is_blank(value) else str(_whole(value)).strip() for value in values] for _, values in sample]
    index = header_after_title(shown, source.requested)
    if index:
        names = quoted(filter(None, shown[index]))
        message = (
            f"the header is row {sample[index][0]}, which names the columns {names}; the rows before it are not read"
        )
        source.remark("title", message, f"row {sample[0][0]}", index, "warn")
    return shown[index], chain(sample[index + 1 :], rows)


def _is_unnamed(names: Sequence[str], index: int, kept: dict[str, int]) -> bool:
    """Whether a column has no name and is not read."""
    return index >= len(names) or (not names[index] and kept.get("") != index)


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _cell(values: Sequence[Any], index: int) -> Any:
    return _whole(values[index]) if index < len(values) else None


def _whole(value: Any) -> Any:
    """Convert whole numbers to integers, and times at midnight to dates: Excel does not distinguish these types."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value.date() if isinstance(value, datetime) and value.time() == MIDNIGHT else value


@contextmanager
def _opened_sheet(source: Source) -> Iterator[tuple[IO[bytes], Any]]:
    """Context manager for the workbook's file and the sheet to read. Raises BadData if it is damaged."""
    with seekable(source) as content, _opened(content) as file:
        _check_sizes(source, file)
        try:
            book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
        except MemoryError:
            raise
        except Exception as error:  # openpyxl raises errors of many types for a damaged workbook
            raise _unreadable(source, error) from None
        try:
            yield file, choose_sheet(source, book)
        finally:
            book.close()


def _opened(content: Path | IO[bytes]) -> IO[bytes]:
    """Return the content as an open file, because openpyxl rejects paths without one of Excel's suffixes."""
    return content.open("rb") if isinstance(content, Path) else content


def _check_sizes(source: Source, file: IO[bytes]) -> None:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            is_sheet = member.filename.startswith("xl/worksheets/")
            limit = MOST_STRINGS if member.filename == STRINGS else MOST_SHEET if is_sheet else MOST_OTHER
            is_read = member.filename.endswith((".xml", ".rels"))
            if is_read and member.file_size > limit:
                name, size = ascii(member.filename)[:60], f"{limit >> 20} MiB"
                raise source.fault(f"contains {name}, which has more than {size} when unpacked; save the sheet as CSV")


def _hidden(source: Source, file: IO[bytes], sheet: Any) -> frozenset[int]:
    """Return the numbers of the hidden rows. The first call reads the whole sheet to find them."""
    if "hidden_rows" not in source.settled:
        try:
            source.settled["hidden_rows"] = hidden_rows(file, sheet)
        except MemoryError:
            raise
        except Exception as error:  # a damaged workbook causes errors of many types
            raise _unreadable(source, error) from None
    numbers: frozenset[int] = source.settled["hidden_rows"]
    return numbers


def _stream(source: Source, sheet: Any) -> Iterator[SheetRow]:
    """Yield the rows of the sheet. Raises BadData if a row cannot be read, or if there are too many cells."""
    rows = sheet.iter_rows(values_only=True)
    cells = number = 0
    while (values := _next(source, rows, number)) is not None:
        number += 1
        cells += len(values)
        if number > MOST_ROWS or len(values) > MOST_COLUMNS or cells > MOST_CELLS:
            raise source.fault(
                "has more cells than an Excel sheet can contain, or too many to read; save it as CSV", f"row {number}"
            )
        yield number, values


def _next(source: Source, rows: Iterator[tuple[Any, ...]], before: int) -> tuple[Any, ...] | None:
    try:
        return next(rows, None)
    except MemoryError:
        raise
    except Exception as error:
        raise _unreadable(source, error, f"after row {before}") from None


def _unreadable(source: Source, error: Exception, *where: str) -> BadData:
    reason = str(error) or type(error).__name__
    advice = "save it again as .xlsx, or as CSV UTF-8"
    return source.fault(f"is not a readable Excel workbook: {reason[:200]}; {advice}", *where)

"""Chooses the sheet of an Excel workbook that contains the table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from app.training.data.files import Source
from app.training.data.usual_names import INPUTS, TITLE_ROWS, quoted

_FRONT = "to read another sheet, move it to the front of the workbook"


def choose_sheet(source: Source, book: Any) -> Any:
    """Return the sheet to read, which is usually the first visible one.

    Another visible sheet is read if all others are empty, or if only that sheet has the columns that the request names
    (or, if it names none, columns with usual names). A remark reports the choice. The first call chooses, and later
    calls return the same sheet.
    """
    sheets = book.worksheets
    if not sheets:
        raise source.fault("has no sheet with cells")
    if "sheet" not in source.settled:
        source.settled["sheet"] = _choose(source, sheets)
    chosen = sheets[source.settled["sheet"]]
    chosen.reset_dimensions()  # the declared dimensions may be wrong
    return chosen


def other_sheets(source: Source) -> str:
    """Return the end of an error message about a workbook with several sheets, or "" for any other file."""
    return f"; {message}; {_FRONT}" if (message := source.settled.get("sheets", "")) else ""


def _choose(source: Source, sheets: Sequence[Any]) -> int:
    """Return the index of the sheet to read."""
    visible = [index for index, sheet in enumerate(sheets) if sheet.sheet_state == "visible"] or [0]
    chosen, reason = visible[0], ""
    if len(visible) > 1:
        starts = {index: _start(sheets[index]) for index in visible}
        filled = [index for index in visible if starts[index]]
        named = [index for index in visible if _names_columns(source, starts[index])]
        chosen = filled[0] if len(filled) == 1 else named[0] if len(named) == 1 else chosen
        reason = "the only one with rows" if len(filled) == 1 else "the only one with the names of usual columns"
        reason = "the only one with the columns of the request" if source.requested and len(filled) > 1 else reason
    if len(sheets) > 1:
        others = quoted(sheet.title for index, sheet in enumerate(sheets) if index != chosen)
        message = f"only the sheet {sheets[chosen].title!r} is read, not {others}"
        source.settled["sheets"] = message
        why = f", because it is {reason}" * (chosen != visible[0])
        source.remark("sheets", f"has {len(sheets)} sheets; {message}{why}; {_FRONT}", level="warn")
    return chosen


def _start(sheet: Any) -> list[set[str]]:
    """Return the texts in each of the first rows of a sheet, without empty rows."""
    sheet.reset_dimensions()
    rows = islice(sheet.iter_rows(values_only=True, max_row=TITLE_ROWS), TITLE_ROWS)
    cells = ({str(value).strip() for value in values if value is not None and str(value).strip()} for values in rows)
    return list(filter(None, cells))


def _names_columns(source: Source, start: Sequence[set[str]]) -> bool:
    """Whether one of the first rows names all columns of the request or, if it has none, a usual input column."""
    wanted = {part.strip() for name in source.requested for part in name.split(",")}
    if wanted:
        return any(wanted <= names for names in start)
    return any(not INPUTS.isdisjoint(name.lower() for name in names) for names in start)

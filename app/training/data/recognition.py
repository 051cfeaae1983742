"""Recognises tables in files whose names suggest plain text.

A language model trained on a table learns to generate rows of the table, which users rarely want.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

import msgspec

from app.training.data.even_cells import count_cells
from app.training.data.fasttext import PREFIX
from app.training.data.files import Source, lines, undecodable_fault
from app.training.data.labelled_lines import find_labels, find_prefix, find_speakers
from app.training.data.notes import PLACES, listed_places
from app.training.data.usual_names import INPUTS, TARGETS, TITLE_ROWS, header_after_title, quoted
from app.training.failures import BadData
from app.wire.file_formats import SUFFIXES, format_of
from app.wire.training_options import Columns

_SAMPLE = 200  # the number of lines that are examined
_MANY_LINES = 2000  # the number of lines that are searched for labels, because a text may be sorted by label
_EVEN_LINES = 10  # a text with at least this many lines, nearly all with the same number of cells, may be a table
_LABELLED = 0.4  # if at least this share of the lines have a label, a text may be a table
_MOST_CELLS = 0.9  # the share of the lines that must have at least as many cells as the header
_DELIMITERS = {"\t": "tabs", ";": "';'", "|": "'|'", ",": "commas"}
# Suffixes of files that are usually tables, documents or programs, and not texts to learn from.
_NOT_TEXT = (
    ".xls",
    ".ods",
    ".numbers",
    ".dbf",
    ".arff",
    ".sav",
    ".dta",
    ".html",
    ".htm",
    ".xml",
    ".yaml",
    ".yml",
    ".log",
)
_AS_TEXT = "set task to generation to train on it as plain text"


def as_table(source: Source, task: str | None, columns: Columns | None = None) -> Source:
    """Return the source, with the format of a table if it is a text file whose content is clearly a table.

    If the request names `columns`, and the first line names all of them, the file is a table. Otherwise, for the
    generation task, a text file is always plain text. If the text may be a table and the request does not name
    a task, raises BadData, so that the user can decide. Also raises BadData for plain text with bytes that cannot be
    decoded.
    """
    if columns is not None:
        source.settled["requested"] = [name for name in msgspec.structs.astuple(columns) if name is not None]
    if source.format == "text" and columns is not None and _names_columns(source, columns):
        source.remark("read_as_table", "is read as a table: its first line contains the columns named in the request")
        source = replace(source, format="csv")
    source = _recognised(source, task)
    if source.format == "text" and source.undecodable:
        raise _damaged_text(source)
    return source


def table_evidence(text: Iterable[str]) -> str:
    """Return the reason for suspecting that the lines of a text are those of a table, or "" if there is none."""
    sample = [line for line in islice(text, _SAMPLE) if line.strip()]
    return (_format(sample, None)[1] or _doubt(sample)) if sample else ""


def _damaged_text(source: Source) -> BadData:
    """Return the error for plain text with bytes that cannot be decoded. The error lists the lines with such bytes."""
    first: BadData = source.settled["undecodable"]
    damaged = [f"line {number}" for number, line in lines(source) if undecodable_fault(source, line)]
    if len(damaged) < 2:
        return first
    message = f"{first.reason}. In total, {len(damaged):,} lines have such bytes"
    return source.fault(f"{message} ({listed_places(damaged[:PLACES], len(damaged))})", *first.where)


def _names_columns(source: Source, columns: Columns) -> bool:
    """Whether the request names columns, and the first line of the text file contains all of their names."""
    named = [getattr(columns, key) for key in columns.__struct_fields__]
    wanted = {part.strip() for name in named if name is not None for part in name.split(",")}
    first = next((line for _, line in lines(source) if line.strip()), "") if wanted else ""
    cells = ({name.strip().strip('"') for name in first.split(delimiter)} for delimiter in _DELIMITERS)
    return bool(wanted) and any(wanted <= names for names in cells)


def _recognised(source: Source, task: str | None) -> Source:
    """Return the source, with another format if it is a text file that is clearly a table. Raises BadData in doubt."""
    if source.format != "text" or task == "generation":
        return source
    first = [line.rstrip("\r\n") for _, line in islice(lines(source), _MANY_LINES)]
    filled = [line for line in first[:_SAMPLE] if line.strip()]
    format_, evidence = _format(filled, task)
    if format_:
        source.remark("read_as_table", f"is read as {format_}, not as plain text: {evidence}; {_AS_TEXT}")
        return replace(source, format="csv" if format_ == "a table" else format_)
    if task is None:
        _ask(source, filled, [line for line in first if line.strip()])
    suffix = next((name for name in _NOT_TEXT if source.filename.lower().endswith(name)), None)
    if suffix and task is None:
        message = (
            f"is read as plain text for generation, although its name ends in {suffix}; is this the intended file?"
        )
        source.remark("read_as_text", message, level="warn")
    elif task is None and format_of(source.filename) is None:
        message = (
            "is read as plain text for generation, because its name has none of the suffixes of data files "
            f"({', '.join(SUFFIXES)}) and its content is not a table; is this the intended file?"
        )
        source.remark("read_as_text", message, level="warn")
    return source


def _ask(source: Source, sample: list[str], many: list[str]) -> None:
    """Raise BadData if the text may be a table or may have labels. `many` contains more lines of it than `sample`."""
    if doubt := find_prefix(many):
        raise _label_question(source, doubt)
    if doubt := _doubt(sample):
        raise _question(source, doubt)
    if doubt := find_labels(many):
        raise _label_question(source, doubt)
    if speakers := find_speakers(many):
        message = (
            f"has lines that begin with one of the words {quoted(speakers)} and a colon, which are read as part of the "
            "text; if they are labels, write a table (.csv or .tsv) with the columns text and label instead"
        )
        source.remark("speakers", message, level="warn")


def _format(sample: list[str], task: str | None) -> tuple[str, str]:
    """If the lines are clearly a table, return its format and the evidence for it; otherwise, return ("", "").

    For a task with labels, fastText's prefix in many of the lines is enough. The lines without a label are then faulty.
    """
    labelled = sum(line.lstrip().startswith(PREFIX) for line in sample)
    if labelled > 1 and labelled == len(sample):
        return "fasttext", f"its lines begin with {PREFIX}"
    if labelled > 1 and labelled >= _LABELLED * len(sample) and task in ("classification", "multilabel"):
        return "fasttext", f"many of its lines begin with {PREFIX}"
    if all(map(_is_object, sample)) or (sample and sample[0].lstrip().startswith("[{")):
        return "jsonl", "its lines are JSON objects"
    for delimiter in _DELIMITERS:
        index = header_after_title([line.split(delimiter) for line in sample[:TITLE_ROWS]])
        header, rows = sample[index : index + 1], sample[index + 1 :]
        names = [name.strip(' "') for name in header[0].split(delimiter)] if header else []
        lower = {name.lower() for name in names}
        is_header = len(names) > 1 and lower & INPUTS and lower & TARGETS and all(names)
        if is_header and rows and _share(rows, delimiter, len(names)) >= _MOST_CELLS:
            line = "a line after a title" if index else "its first line"
            return "a table", f"{line} names the columns {quoted(names)}"
    return "", ""


def _is_object(line: str) -> bool:
    if not line.lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _share(sample: list[str], delimiter: str, width: int) -> float:
    """Return the share of lines that have at least `width` cells."""
    return sum(line.count(delimiter) >= width - 1 for line in sample) / len(sample)


def _doubt(sample: list[str]) -> str:
    """Return the reason for suspecting that a text is a table, or "" if there is none.

    The possible reasons are that the first line looks like a header, or that nearly all lines have the same number of
    cells.
    """
    for delimiter in _DELIMITERS:
        names = [name.strip(' "').lower() for name in sample[0].split(delimiter)] if len(sample) > 1 else []
        is_header = len(names) > 1 and all(names) and not {*INPUTS, *TARGETS}.isdisjoint(names)
        if is_header and _share(sample[1:], delimiter, len(names)) >= _MOST_CELLS:
            return f"its first line may name the columns {quoted(names)}"
    if len(sample) < _EVEN_LINES:
        return ""
    for delimiter, name in _DELIMITERS.items():
        if cells := count_cells(sample, delimiter):
            return f"each line has {cells} cells separated by {name}"
    return ""


def _question(source: Source, doubt: str) -> BadData:
    return source.fault(
        f"looks like a table: {doubt}. If it is a table, change its suffix to .csv, .tsv or .jsonl, begin it "
        f"with a line of column names such as text and label, and upload it again; if it is plain text, {_AS_TEXT}",
        param="task",
    )


def _label_question(source: Source, doubt: str) -> BadData:
    return source.fault(f"looks like labelled lines: {doubt}; if it is plain text, {_AS_TEXT}", param="task")

"""Reads the texts to classify from arguments, lines or tables. Tables are read in the same way as for training."""

from __future__ import annotations

import codecs
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.data import as_regular_files, refusal
from app.cli.output import warn
from app.cli.streams import BYTE_ORDER_MARK, read_text
from app.cli.wording import in_own_words
from app.errors import InvalidRequest
from app.wire.file_formats import TABLE_SUFFIXES, TABLES, format_of
from app.wire.training_options import Columns
from app.wire.training_rules import is_encoding
from app.wording import listed, quantity

if TYPE_CHECKING:
    from app.training.data.files import Source
    from app.training.data.remarks import Remark

_NAMED_COLUMN = "set --text-column to the column with the texts"
_PIPED_TABLE = f"use --file -, and {_NAMED_COLUMN} if its name is not `text`"
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class TableStyle:
    """How a table is written: its delimiter, its encoding, and whether it begins with a byte order mark."""

    delimiter: str = ","
    encoding: str = "utf-8"
    marked: bool = False


@dataclass(frozen=True)
class InputRow:
    """A text or pair of texts, and the columns of its row. `input` is None if the row has no text.

    `style` describes the table that contains the row.
    """

    input: Any
    columns: dict[str, Any]
    style: TableStyle = TableStyle()


@dataclass(frozen=True)
class TableOptions:
    """How to read a table: the columns with the texts, the encoding, and the share of rows that may be left out.

    With `whole`, the columns without a role are read too. Options that are None are not set.
    """

    columns: Columns
    encoding: str | None = None
    skip_bad_rows: float | None = None
    whole: bool = False


def input_rows(texts: list[str] | None, file: Path | None, pair: bool, options: TableOptions) -> Iterator[InputRow]:
    """Return the texts from the arguments, the rows of a table, or the lines of a text file or standard input."""
    if texts and file:
        raise InvalidRequest("pass the texts as arguments or in a file, not both")
    encoding = options.encoding
    if encoding is not None and (file is None or not is_encoding(encoding)):
        wrong = "requires a --file" if file is None else "must be a text encoding such as utf-8, cp1252 or gb18030"
        raise InvalidRequest(f"--encoding {encoding}: {wrong}")
    if file is None:
        _check_no_table(options, "" if texts else "; to read a table from standard input, use --file -")
        yield from _texts(texts or _lines(None, options), pair)
        return
    with as_regular_files({"file": file}) as paths:  # the file is read several times, but a pipe can be read only once
        file = paths["file"]
        if not is_table(file) and not _holds_table(file, options):
            _check_no_table(options)
            yield from _texts(_lines(file, options), pair)
            return
        if pair:
            raise InvalidRequest(
                "--pair cannot be used with a table; set --text-pair-column to the column with the second texts"
            )
        yield from read_rows(file, options)


def _lines(file: Path | None, options: TableOptions) -> list[str]:
    """Return the lines of a text file or of standard input. Prints a warning if the lines look like a table."""
    from app.training.data.recognition import table_evidence

    lines = read_lines(file, options.encoding)
    if evidence := table_evidence(lines):
        name, remedy = ("standard input", _PIPED_TABLE) if file is None else (file.name, _NAMED_COLUMN)
        warn(
            f"warning: {name} looks like a table: {evidence}; each of its lines is read as a text; to classify the "
            f"rows of the table, {remedy}"
        )
    return lines


def _texts(lines: list[str], pair: bool) -> Iterator[InputRow]:
    """Return one row per line or, with `pair`, a single row with two texts."""
    if not pair:
        yield from (InputRow(line if line.strip() else None, {"text": line}) for line in lines)
    elif len(lines) == 2:
        cells = {"text": lines[0], "text_pair": lines[1]}
        yield InputRow(cells, cells)
    else:
        raise InvalidRequest(f"--pair requires two texts, not {len(lines)}")


def _check_no_table(options: TableOptions, remedy: str = "") -> None:
    """Raise InvalidRequest, with a remedy, if there are options that apply only to tables."""
    suffixes = f"a --file that ends in {listed(TABLE_SUFFIXES)}{remedy}"
    if options.columns != Columns():
        raise InvalidRequest(f"--text-column and --text-pair-column require {suffixes}")
    if options.skip_bad_rows is not None:
        raise InvalidRequest(f"--skip-bad-rows requires {suffixes}")


def is_table(path: Path) -> bool:
    """Whether a file name denotes a table rather than a text file with one text per line."""
    return format_of(path.name) in TABLES


def _holds_table(path: Path, options: TableOptions) -> bool:
    """Whether training would read a file as a table, although its name does not denote one. If so, prints a message."""
    from app.training.data.unlabelled import holds_table

    if not holds_table(path, options.encoding, options.columns):
        return False
    warn(
        f"{path.name} is read as a table, as it would be for training; to classify each line as a text, pass the lines "
        "on standard input"
    )
    return True


def read_lines(path: Path | None, encoding: str | None = None) -> list[str]:
    """Return the lines of standard input or of a file, which is decoded like training data.

    Blank lines are returned too, except at the end. Raises InvalidRequest if all lines are blank.
    """
    text = read_text() if path is None else _decoded(path, encoding)
    if not text.strip():
        raise InvalidRequest("there is no text to classify")
    return text.rstrip().split("\n")


def _decoded(path: Path, encoding: str | None) -> str:
    from app.training.data.detection import open_as_text
    from app.training.data.encoding import settle_encoding

    with _errors_of(path):
        source = settle_encoding(open_as_text(path, path.name, "file"), encoding)
        _warn(source)
        with source.open() as file:
            text = file.read().decode(source.encoding)
    return text.removeprefix(BYTE_ORDER_MARK).replace("\r\n", "\n")


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Convert errors in reading a data file to InvalidRequest. If several rows are faulty, prints the first ones."""
    from app.training.failures import BadData, is_data_error

    try:
        yield
    except BadData as error:
        raise refusal(error, outcome="nothing was classified") from None
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror or error}") from None
    except Exception as error:
        if not is_data_error(error):
            raise
        raise InvalidRequest(f"cannot read {path}: {type(error).__name__}: {error}") from None


def _warn(source: Source, printed: Collection[Remark] = ()) -> list[Remark]:
    """Print the warnings about a file, for example about a guessed encoding, except those in `printed`.

    Returns all warnings about the file so far.
    """
    warnings = [remark for remark in source.remarks if remark.level == "warn"]
    for remark in warnings:
        if remark not in printed:
            warn(f"warning: {in_own_words(remark.message)}")
    return warnings


def read_rows(path: Path, options: TableOptions) -> Iterator[InputRow]:
    """Read the rows of a table. `options` names the text columns (default: `text` and `text_pair`, or the only column).

    All rows are checked before the first one is returned. Unusable rows are left out, and a warning is printed. Raises
    InvalidRequest if the table cannot be read, or if the share of unusable rows exceeds `skip_bad_rows`. The messages
    name the lines and columns.
    """
    from app.training.data.faults import ignore
    from app.training.data.unlabelled import check_texts, open_texts, read_texts, text_layout

    with _errors_of(path):
        source = open_texts(path, options.encoding, options.columns)
        printed = _warn(source)
        layout = text_layout(source, options.columns)
        # Print the warnings about the header and the quoting before those about the rows.
        printed = _warn(source, printed)
        try:
            left_out = check_texts(layout, options.skip_bad_rows or 0.0, whole=options.whole)
        finally:
            _warn(source, printed)
        if left_out.rows:
            verb = "is" if left_out.rows == 1 else "are"
            count = quantity(left_out.rows, "row")
            warn(f"warning: {count} that cannot be used {verb} left out: {left_out.summary()}")
        style = _style_of(source)
        for row in read_texts(layout, ignore, whole=options.whole):
            content: Any = row.texts["text"] if len(row.texts) == 1 else row.texts
            yield InputRow(content if any(text.strip() for text in row.texts.values()) else None, row.values, style)


def _style_of(source: Source) -> TableStyle:
    from app.training.data.delimiters_choice import delimiters_of

    with source.open() as file:
        marked = file.read(len(codecs.BOM_UTF8)).startswith(_MARKS)
    delimiter = delimiters_of(source).delimiter if source.format in ("csv", "tsv") else ","
    return TableStyle(delimiter, source.encoding, marked)

"""The readers for the file formats that consist of records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.training.data import csv, fasttext, json_lines, parquet, xlsx
from app.training.data.files import Record, Selection, Source


@dataclass(frozen=True, slots=True)
class FormatReader:
    """Reads files in one format.

    `header` returns the column names. `records` yields the records, with the values of the selected columns.
    """

    header: Callable[[Source], list[str]]
    records: Callable[[Source, Selection], Iterator[Record]]


_CSV = FormatReader(csv.header, csv.records)
READERS = {
    "csv": _CSV,
    "tsv": _CSV,
    "jsonl": FormatReader(json_lines.header, json_lines.records),
    "fasttext": FormatReader(fasttext.header, fasttext.records),
    "parquet": FormatReader(parquet.header, parquet.records),
    "xlsx": FormatReader(xlsx.header, xlsx.records),
}

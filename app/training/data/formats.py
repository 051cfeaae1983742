"""The reader of each file format that holds records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from app.training.data import csv, fasttext, json_lines, parquet
from app.training.data.files import EVERYTHING, Record, Selection, Source

_Records = Callable[[Source, Selection], Iterator[Record]]


@dataclass(frozen=True, slots=True)
class FormatReader:
    """How to read a file: `header` returns the names of its columns, `raw_records` its records in order."""

    header: Callable[[Source], list[str]]
    raw_records: _Records

    def records(self, source: Source, selection: Selection = EVERYTHING) -> Iterator[Record]:
        """Every record with a value, in order; those without any are counted in a remark."""
        count, first = 0, ""
        for record in self.raw_records(source, selection):
            if record.fault is None and _is_empty(record.values):
                count, first = count + 1, first or record.where
            else:
                yield record
        if count:
            source.remark("empty_rows", f"{count:,} rows without any value are left out", first, count)


def _is_empty(values: dict[str, Any]) -> bool:
    return all(value is None or (isinstance(value, str) and not value.strip()) for value in values.values())


_CSV = FormatReader(csv.header, csv.records)
READERS = {
    "csv": _CSV,
    "tsv": _CSV,
    "jsonl": FormatReader(json_lines.header, json_lines.records),
    "fasttext": FormatReader(fasttext.header, fasttext.records),
    "parquet": FormatReader(parquet.header, parquet.records),
}

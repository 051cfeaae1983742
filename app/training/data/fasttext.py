"""Reads files in fastText format as records. A line such as `__label__spam Win now` has a label and a text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from app.training.data.files import EVERYTHING, Record, Selection, Source, lines

PREFIX = "__label__"
_LINE = re.compile(r"((?:__label__\S*[\s,]*)*)(.*)", re.DOTALL)


def header(source: Source) -> list[str]:
    """Return the column names, which are the same for all files."""
    return ["label", "text"]


def records(source: Source, selection: Selection = EVERYTHING) -> Iterator[Record]:
    """Yield one record per line that is not blank. Several labels become a list; a missing label is None."""
    for number, line in lines(source):
        if line.strip():
            prefixes, text = _LINE.fullmatch(line).groups()  # type: ignore[union-attr]
            labels = list(filter(None, (label.strip().strip(",") for label in prefixes.split(PREFIX))))
            values = {"label": labels if len(labels) > 1 else next(iter(labels), None), "text": text.strip()}
            yield Record(f"line {number}", values)

"""Reads files in fastText format as records. A line such as `__label__spam Win now` has a label and a text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from app.training.data.files import EVERYTHING, Record, Selection, Source, checked, lines
from app.wording import quantity

PREFIX = "__label__"
_LINE = re.compile(r"((?:__label__\S*[\s,]*)*)(.*)", re.DOTALL)


def header(source: Source) -> list[str]:
    """Return the column names, which are the same for all files."""
    return ["label", "text"]


def records(source: Source, selection: Selection = EVERYTHING) -> Iterator[Record]:
    """Yield one record per line that is not blank. Several labels become a list; a missing label is None.

    Labels within or after the text are part of the text; a remark reports them.
    """
    count, first = 0, ""
    for number, line in lines(source):
        if line.strip():
            prefixes, text = _LINE.fullmatch(line).groups()  # type: ignore[union-attr]
            labels = list(filter(None, (label.strip().strip(",") for label in prefixes.split(PREFIX))))
            values = {"label": labels if len(labels) > 1 else next(iter(labels), None), "text": text.strip()}
            if PREFIX in text:
                count, first = count + 1, first or f"line {number}"
            yield checked(source, Record(f"line {number}", values))
    if count:
        message = f"{quantity(count, 'line')} {'has' if count == 1 else 'have'} {PREFIX} within or after"
        message += (
            f" {'its' if count == 1 else 'their'} text; such a label is read as text; write all labels of a line before"
        )
        source.remark("labels_in_text", f"{message} its text", first, count, "warn")

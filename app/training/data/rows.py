"""Reads the rows of a data file as examples, whatever their shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from app.training.data import chat, series
from app.training.data.cells import to_matrix
from app.training.data.columns import errors_as_faults, read, read_split, read_target, read_text
from app.training.data.example import Example, Turn
from app.training.data.files import Record
from app.training.data.formats import READERS
from app.training.data.layouts import Layout

ShapeReader = Callable[[Layout, Iterator[Record]], Iterator[Example]]


def read_examples(layout: Layout) -> Iterator[Example]:
    """Every row of the file, in order; series in the order of their first rows.

    Raises BadData with the place of the first row that cannot be read, whatever the reason.
    """
    return _SHAPE_READERS[layout.shape](layout, _read_records(layout))


def _read_records(layout: Layout) -> Iterator[Record]:
    """Every record. The first records settle what a key means, so a later record cannot introduce a key."""
    source = layout.source
    for record in READERS[source.format].records(source):
        if not layout.absent.isdisjoint(record.values):
            key = min(layout.absent & record.values.keys())
            message = f"no record before has the key {key!r}; give it to every record, or to none"
            raise source.fault(message, record.where, f"column {key!r}")
        yield record


def _read_text(layout: Layout, record: Record) -> Example:
    split, (labels, value) = read_split(layout, record), read_target(layout, record)
    pair = read_text(layout, record, "text_pair") if "text_pair" in layout.names else None
    text = read_text(layout, record, "text")
    return Example(record.where, text, pair, labels=labels, value=value, split=split)


def _read_completion(layout: Layout, record: Record) -> Example:
    split = read_split(layout, record)
    prompt = Turn(read_text(layout, record, "prompt"), learned=False, ended=False)
    completion = Turn(read_text(layout, record, "completion"), learned=True, ended=True)
    return Example(record.where, turns=(prompt, completion), split=split)


def _read_chat(layout: Layout, record: Record) -> Example:
    split = read_split(layout, record)
    return Example(record.where, turns=chat.read_turns(layout, record), split=split)


def _read_features(layout: Layout, record: Record) -> Example:
    split, (labels, value) = read_split(layout, record), read_target(layout, record)
    features_TF = read(layout, record, "features", to_matrix)
    return Example(record.where, features_TF=features_TF, labels=labels, value=value, split=split)


def _one_by_one(read_example: Callable[[Layout, Record], Example]) -> ShapeReader:
    """The reader of a shape in which every record is an example."""

    def read_rows(layout: Layout, records: Iterator[Record]) -> Iterator[Example]:
        for record in records:
            with errors_as_faults(layout, record):
                example = read_example(layout, record)
            yield example

    return read_rows


_SHAPE_READERS: dict[str, ShapeReader] = {
    "text": _one_by_one(_read_text),
    "completion": _one_by_one(_read_completion),
    "chat": _one_by_one(_read_chat),
    "features": _one_by_one(_read_features),
    "series": series.read_examples,
}

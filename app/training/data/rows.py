"""Reads the rows of a data file as examples, whatever the shape of its layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from app.training.data import chat, series
from app.training.data.cells import to_matrix
from app.training.data.columns import errors_as_faults, is_empty, read, read_notes, read_split, read_target, read_text
from app.training.data.example import Example, Turn
from app.training.data.faults import OnFault, raise_first
from app.training.data.files import Record, Selection
from app.training.data.formats import READERS
from app.training.data.layouts import Layout
from app.training.failures import BadData

ShapeReader = Callable[[Layout, Iterator[Record], OnFault], Iterator[Example]]


def read_examples(layout: Layout, on_fault: OnFault = raise_first) -> Iterator[Example]:
    """Yield every row of the file, in order. Series are ordered by their first rows.

    Calls `on_fault` with a BadData for each row that cannot be read. If `on_fault` returns, the row is left out. Raises
    BadData for an error after which no more rows can be read.
    """
    return _SHAPE_READERS[layout.shape](layout, read_records(layout, on_fault), on_fault)


def read_records(layout: Layout, on_fault: OnFault, *, whole: bool = False) -> Iterator[Record]:
    """Yield every record that can be read; with `whole`, also with the columns that have no meaning in the layout.

    The first records determine which keys the file has. A later record with a new key that has a role is faulty.
    """
    source = layout.source
    numbers = frozenset([layout.names["value"]] if layout.task == "regression" else []).union(layout.steps)
    for record in READERS[source.format].records(source, Selection(frozenset(layout.ignored), numbers, whole)):
        if record.fault is not None:
            on_fault(record.fault)
        elif not layout.absent.isdisjoint(record.values):
            key = min(layout.absent & record.values.keys())
            message = (
                f"no earlier record has the key {key!r}; add the key to every record, or remove it from all records"
            )
            on_fault(source.fault(message, record.where, f"column {key!r}"))
        else:
            yield record


def _read_text(layout: Layout, record: Record) -> Example:
    split, target = read_split(layout, record), read_target(layout, record)
    keys = ("text", "text_pair") if "text_pair" in layout.names and layout.task != "generation" else ("text",)
    pair = read_text(layout, record, "text_pair") if "text_pair" in layout.names else None
    text = read_text(layout, record, "text")
    return Example(record.where, text, pair, target=target, split=split, notes=read_notes(layout, record, *keys))


def _read_completion(layout: Layout, record: Record) -> Example:
    split = read_split(layout, record)
    prompt = Turn(read_text(layout, record, "prompt"), learned=False, ended=False)
    completion = Turn(read_text(layout, record, "completion"), learned=True, ended=True)
    notes = read_notes(layout, record, "prompt", "completion")
    return Example(record.where, turns=(prompt, completion), split=split, notes=notes)


def _read_chat(layout: Layout, record: Record) -> Example:
    split = read_split(layout, record)
    turns, notes = chat.read_turns(layout, record)
    return Example(record.where, turns=turns, split=split, notes=notes + read_notes(layout, record))


def _read_features(layout: Layout, record: Record) -> Example:
    split, target = read_split(layout, record), read_target(layout, record)
    features_TF = read(layout, record, "features", to_matrix)
    return Example(record.where, features_TF=features_TF, target=target, split=split, notes=read_notes(layout, record))


def _one_by_one(read_example: Callable[[Layout, Record], Example]) -> ShapeReader:
    """Return a reader for a layout shape in which every record is one example."""

    def read_rows(layout: Layout, records: Iterator[Record], on_fault: OnFault) -> Iterator[Example]:
        for record in records:
            try:
                with errors_as_faults(layout, record):
                    example = Example(record.where) if is_empty(layout, record) else read_example(layout, record)
            except BadData as error:
                on_fault(error)
            else:
                yield example

    return read_rows


_SHAPE_READERS: dict[str, ShapeReader] = {
    "text": _one_by_one(_read_text),
    "completion": _one_by_one(_read_completion),
    "chat": _one_by_one(_read_chat),
    "features": _one_by_one(_read_features),
    "series": series.read_examples,
}

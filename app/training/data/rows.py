"""Reads the rows of a data file as examples, for layouts of every shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np

from app.training.data import chat, series
from app.training.data.cells import CellError, is_plain_list, to_input_text, to_matrix
from app.training.data.columns import (
    errors_as_faults,
    is_empty,
    read,
    read_notes,
    read_split,
    read_step,
    read_target,
    read_text,
)
from app.training.data.decimals import Decimals
from app.training.data.example import Example, Turn
from app.training.data.faults import OnFault, raise_first
from app.training.data.files import Record, Selection, Source
from app.training.data.formats import READERS
from app.training.data.layouts import Layout
from app.training.data.notes import EMPTY_ROWS, PLAIN_FEATURES, REJECTED
from app.training.data.usual_names import quoted
from app.training.failures import BadData
from app.wording import quantity

_ANSWER, _VERDICTS = "answer", ("accept", "reject", "ignore")  # Prodigy's column of verdicts, and its values
_SAMPLE = 1000  # the number of records in which `answer` is checked for these values
_MOST_KEYS = 20  # if `_LateKeys` has at least this many keys, it adds no more
ShapeReader = Callable[[Layout, Iterator[Record], OnFault], Iterator[Example]]


def read_examples(layout: Layout, on_fault: OnFault = raise_first) -> Iterator[Example]:
    """Yield one example per row, in file order, or one per series of a numeric table, in the order of their first rows.

    Calls `on_fault` with a BadData for each row that cannot be read. If `on_fault` returns, the row is left out. Raises
    BadData for an error that makes all later rows unreadable.
    """
    return _SHAPE_READERS[layout.shape](layout, read_records(layout, on_fault), on_fault)


def read_records(layout: Layout, on_fault: OnFault, *, whole: bool = False) -> Iterator[Record]:
    """Yield every record that can be read. With `whole`, records also contain the columns without a role.

    The first records determine which keys the file has. A later record with a new key is faulty if a column with the
    name of this key would have a role. Calls `on_fault` with a BadData for each faulty record.
    """
    source = layout.source
    numbers = frozenset([layout.names["value"]] if layout.task == "regression" else []).union(layout.steps)
    late, decimals = _LateKeys(layout), Decimals(layout, numbers)
    selection = Selection(frozenset(layout.ignored), numbers, whole, _required(layout))
    for record in READERS[source.format].records(source, selection):
        if record.fault is not None:
            on_fault(record.fault)
        elif not layout.absent.isdisjoint(record.values):
            key = min(layout.absent & record.values.keys())
            message = (
                f"the first records do not have the key {key!r}; add it to every record, or remove it from all records"
            )
            on_fault(source.fault(message, record.where, f"column {key!r}"))
        else:
            late.add(record)
            yield decimals.convert(record) if numbers else record
    late.remark()
    decimals.remark()


def _required(layout: Layout) -> frozenset[str]:
    """Return the columns without which a row cannot be used.

    For texts, these are the columns of the text and its target; for the task multilabel, a text without labels can be
    used. For prompts with completions, only the completion is required. In all other tables, every column with a role
    is required, because a text in place of a list or a number makes a row unusable.
    """
    if layout.shape not in ("text", "completion"):
        return frozenset(layout.names.values()).union(layout.steps, layout.one_hot).difference(layout.ignored)
    target = {"classification": "label", "regression": "value"}.get(layout.task)
    keys = ("completion",) if layout.shape == "completion" else ("text", target)
    one_hot = layout.one_hot if layout.task == "classification" else ()
    return frozenset(layout.names[key] for key in keys if key in layout.names).union(one_hot)


class _LateKeys:
    """Counts the records with keys that the first records, which determine the columns, do not have."""

    def __init__(self, layout: Layout) -> None:
        self._source = layout.source
        self._columns = {*layout.names.values(), *layout.steps, *layout.one_hot, *layout.ignored}
        self._keys: dict[str, None] = {}
        self._count, self._first = 0, ""

    def add(self, record: Record) -> None:
        if record.values.keys() <= self._columns:
            return
        self._count += 1
        self._first = self._first or record.where
        if len(self._keys) < _MOST_KEYS:
            self._keys |= dict.fromkeys(key for key in record.values if key not in self._columns)

    def remark(self) -> None:
        if self._count:
            verb = "has" if self._count == 1 else "have"
            message = f"{quantity(self._count, 'record')} {verb} keys that the first records do not have; these keys "
            message += f"are not used: {quoted(self._keys)}"
            self._source.remark("late_keys", message, self._first, self._count, "warn")


def _read_text(layout: Layout, record: Record) -> Example:
    split, target = read_split(layout, record), read_target(layout, record)
    keys = ("text", "text_pair") if layout.has_pairs else ("text",)
    pair = read_text(layout, record, "text_pair") if layout.has_pairs else None
    text = read_text(layout, record, "text")
    return Example(record.where, text, pair, target=target, split=split, notes=read_notes(layout, record, *keys))


def _read_completion(layout: Layout, record: Record) -> Example:
    split = read_split(layout, record)
    prompt = Turn(read(layout, record, "prompt", _to_text), learned=False, ended=False)
    completion = Turn(read(layout, record, "completion", _to_text), learned=True, ended=True)
    notes = read_notes(layout, record, "prompt", "completion")
    return Example(record.where, turns=(prompt, completion), split=split, notes=notes)


def _to_text(value: Any) -> str:
    if isinstance(value, list):
        hint = "write a conversation as one list of messages, in a column named messages"
        raise CellError(f"expected text, found a list; {hint}")
    return to_input_text(value)


def _read_chat(layout: Layout, record: Record) -> Example:
    split = read_split(layout, record)
    turns, notes = chat.read_turns(layout, record)
    return Example(record.where, turns=turns, split=split, notes=notes + read_notes(layout, record))


def _read_features(layout: Layout, record: Record) -> Example:
    split, target = read_split(layout, record), read_target(layout, record)
    features_TF = read(layout, record, "features", to_matrix)
    notes = read_notes(layout, record) + (PLAIN_FEATURES,) * is_plain_list(record.values.get(layout.names["features"]))
    return Example(record.where, features_TF=features_TF, target=target, split=split, notes=notes)


def _read_row(layout: Layout, record: Record) -> Example:
    features_TF = np.asarray([read_step(layout, record)], dtype=np.float64)
    split, target = read_split(layout, record), read_target(layout, record)
    return Example(record.where, features_TF=features_TF, target=target, split=split, notes=read_notes(layout, record))


def _rejection(layout: Layout) -> Callable[[Record], bool]:
    """Return a function that checks whether an annotator rejected or ignored a record (Prodigy's `answer`)."""
    is_prodigy = layout.source.format == "jsonl" and _ANSWER in layout.ignored and _has_verdicts(layout.source)
    return lambda record: is_prodigy and record.values.get(_ANSWER) in ("reject", "ignore")


def _has_verdicts(source: Source) -> bool:
    """Whether the column `answer` of the first records has only the values that Prodigy writes."""
    if "verdicts" not in source.settled:
        source.settled["verdicts"] = all(answer in _VERDICTS for answer in _first_answers(source))
    return bool(source.settled["verdicts"])


def _first_answers(source: Source) -> Iterator[Any]:
    with suppress(BadData):  # the pass over all records reports the error
        for record in islice(READERS[source.format].records(source, Selection()), _SAMPLE):
            yield _VERDICTS[0] if record.fault else record.values.get(_ANSWER)


def _one_by_one(read_example: Callable[[Layout, Record], Example]) -> ShapeReader:
    """Return a reader for a layout shape in which every record is one example."""

    def read_rows(layout: Layout, records: Iterator[Record], on_fault: OnFault) -> Iterator[Example]:
        is_rejected = _rejection(layout)
        for record in records:
            try:
                with errors_as_faults(layout, record):
                    reason = EMPTY_ROWS if is_empty(layout, record) else REJECTED if is_rejected(record) else None
                    example = Example(record.where, notes=(reason,)) if reason else read_example(layout, record)
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
    "row": _one_by_one(_read_row),
    "series": series.read_examples,
}

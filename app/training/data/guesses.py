"""Guesses the label columns of a table from their names and contents, if no column is named "label"."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from random import Random
from typing import Any

from app.training.data.cells import CellError, is_blank, to_mark
from app.training.data.files import Record, Selection, Source
from app.training.data.formats import READERS
from app.training.data.label_forms import is_one_hot_cell, is_scored_cell, to_label_list
from app.training.data.nearly_numbers import are_nearly_numbers
from app.training.data.number_forms import reading
from app.training.data.usual_names import SUGGESTED_LABELS, USUAL_LABELS, quoted
from app.training.failures import BadData

_SAMPLE = 4000  # the number of records that are drawn from all records that are read
_MOST_READ = 1_000_000  # the maximum number of records that are read
_SEED = 0  # the guess determines the task, so all attempts at a job must draw the same records
# A label column has at least `_FEWEST_ROWS` rows, and on average, each label occurs at least `_REPEATED` times. There
# are at most `_MOST_LABELS` labels or, if they have at most `_LABEL_WORDS` words each, one per `_OFTEN` rows.
_FEWEST_ROWS, _REPEATED, _MOST_LABELS, _LABEL_WORDS, _OFTEN = 8, 4, 200, 3, 10
_LISTED = 100  # the maximum number of columns that a message lists
_WORDS = 2  # a column of texts has at least this many words per value on average
_DATE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}(?!\d)")  # the beginning of a date or of a time stamp
_FULL = 0.9  # a full column has a value in at least this share of the rows
_MOST_NUMBERS = 20  # with more distinct whole numbers than this, a column may contain values to predict


class Sample:
    """The values of some columns in a sample of a table's records.

    The sample is drawn at random from the first `first` records, by default from a million, because the records may be
    sorted.
    """

    def __init__(
        self, source: Source, columns: Collection[str], present: Collection[str], first: int = _MOST_READ
    ) -> None:
        self._values: dict[str, list[Any]] = {name: [] for name in columns}
        self._records = 0
        if not columns:
            return
        selection = Selection(ignored=frozenset(present) - frozenset(columns))
        records = READERS[source.format].records(source, selection)
        for record in _draw(islice(records, first), _SAMPLE):
            self._records += 1
            for name, values in self._values.items():
                if not is_blank(value := record.values.get(name)):
                    values.append(value)

    def flags(self) -> list[str]:
        """Return the columns that contain only zeros and ones (or other marks such as x), with at least one of each.

        In a column without zeros, empty cells count as zeros.
        """
        return [name for name, values in self._values.items() if self._is_marked(values)]

    def sparse_flags(self) -> list[str]:
        """Return the columns in `flags` that contain only ones and empty cells."""
        return [name for name in self.flags() if all(map(_mark, self._values[name]))]

    def _is_marked(self, values: list[Any]) -> bool:
        marks = {_mark(value) for value in values}
        return marks == {False, True} or (marks == {True} and len(values) < self._records)

    def categories(self) -> list[str]:
        """Return the columns that have few distinct values, which on average occur often."""
        return [name for name, values in self._values.items() if self._is_category(values)]

    def by_likelihood(self, names: Iterable[str]) -> list[str]:
        """Sort the names of columns so that the column that most likely contains the labels comes first.

        Columns with a usual name come first, and columns of numbers or dates last. Otherwise, columns with lists come
        before columns without, and columns with fewer distinct values before columns with more.
        """
        return sorted(names, key=self._unlikelihood)

    def _unlikelihood(self, name: str) -> tuple[bool, bool, bool, int]:
        values = self._values[name]
        distinct = {str(element) for value in values for element in _elements(value)}
        measured = all(_is_measured(str(value)) for value in values)
        alone = all(to_label_list(value) is None for value in values)
        return name.strip().lower() not in SUGGESTED_LABELS, measured, alone, len(distinct)

    def scored(self) -> list[str]:
        """Return the columns that contain objects of numbers between 0 and 1, except those with only 0 and 1."""
        objects = (name for name, values in self._values.items() if values and all(map(is_scored_cell, values)))
        return [name for name in objects if not all(map(is_one_hot_cell, self._values[name]))]

    def numbers(self) -> list[str]:
        """Return the columns that contain only numbers, some of them fractional or many of them distinct."""
        return [name for name, values in self._values.items() if values and self._are_values(values)]

    def nearly_numbers(self) -> list[str]:
        """Return the columns in which most values are numbers, including numbers with the same unit."""
        return [name for name, values in self._values.items() if are_nearly_numbers(values, is_number)]

    def distinct_whole_numbers(self) -> list[str]:
        """Return the columns of whole numbers that contain a different one in nearly each row."""
        return [name for name, values in self._values.items() if self._are_distinct(values)]

    def _are_distinct(self, values: list[Any]) -> bool:
        numbers = [number for value in values if (number := _number(value)) is not None]
        is_full = len(numbers) >= max(1, _FULL * self._records)
        return is_full and all(map(float.is_integer, numbers)) and len(set(numbers)) == len(numbers)

    def texts(self) -> list[str]:
        """Return the columns that mostly contain distinct texts. The column with the longest texts comes first."""
        lengths = {name: _mean_length(values) for name, values in self._values.items() if _are_texts(values)}
        return sorted(lengths, key=lambda name: -lengths[name])

    def full_texts(self) -> list[str]:
        """Return the columns in `texts` that have a text in at least 90 % of the records, longest texts first."""
        return [name for name in self.texts() if len(self._values[name]) >= _FULL * self._records]

    def nested(self) -> list[str]:
        """Return the columns that contain objects or lists."""
        return [name for name, values in self._values.items() if any(isinstance(v, (list, dict)) for v in values)]

    def of(self, kind: Callable[[Any], bool]) -> list[str]:
        """Return the columns that contain values of this kind, and no others."""
        return [name for name, values in self._values.items() if values and all(map(kind, values))]

    def texts_with(self, characters: str) -> list[str]:
        """Return, as text, the values that contain one of the characters."""
        values = (str(value) for column in self._values.values() for value in column)
        return [value for value in values if not set(characters).isdisjoint(value)]

    def begins_with_row(self) -> bool:
        """Whether the names of the columns look like values: numbers, or values that occur in their columns."""
        return any(_is_number(name) or name in values for name, values in self._values.items())

    def _is_category(self, values: list[Any]) -> bool:
        if values and all(map(is_one_hot_cell, values)):
            return any(value != values[0] for value in values)
        if values and all(map(is_scored_cell, values)):
            return False
        lists = [_elements(value) for value in values]
        if len(values) < _FEWEST_ROWS or any(isinstance(v, (list, dict)) for elements in lists for v in elements):
            return False
        distinct = {str(element) for elements in lists for element in elements}
        short = all(len(label.split()) <= _LABEL_WORDS for label in distinct)
        most = max(_MOST_LABELS, len(values) // _OFTEN) if short else _MOST_LABELS
        return 2 <= len(distinct) <= min(len(values) // _REPEATED, most)

    def _are_values(self, values: list[Any]) -> bool:
        numbers = set(map(_number, values))
        if None in numbers:
            return False
        return len(numbers) > _MOST_NUMBERS or not all(number.is_integer() for number in numbers if number is not None)


def _draw(records: Iterable[Record], size: int) -> list[Record]:
    """Draw `size` records at random, each with the same probability (reservoir sampling; Waterman's Algorithm R).

    If the file cannot be read to its end, draws from the records before the error. The first pass over all rows reports
    the error.
    """
    drawn: list[Record] = []
    random = Random(_SEED)
    try:
        for number, record in enumerate(records):
            if number < size:
                drawn.append(record)
            elif (slot := random.randrange(number + 1)) < size:
                drawn[slot] = record
    except BadData:
        pass
    return drawn


def guess_labels(source: Source, columns: Collection[str], present: Collection[str], task: str | None) -> list[str]:
    """Return the columns that certainly contain the labels in a table of texts, or [] if there are none.

    `columns` lists the candidates, and `present` all columns. The labels are in a single column with a usual name or,
    for the task multilabel, in several columns of 0s and 1s. Raises BadData if the request does not name a task, and it
    is uncertain whether some columns contain labels. Without this error, the run would train a language model and
    ignore these columns.
    """
    sample = Sample(source, columns, present)
    usual = [name for name in columns if name.strip().lower() in USUAL_LABELS]
    numbers = sample.numbers()
    if len(usual) == 1 and usual[0] not in numbers:
        return usual
    flags = sample.flags()
    if task == "multilabel" and not usual and len(flags) > 1:
        return flags
    if task is None and (usual or flags or sample.categories()):
        raise _question(source, sample, usual, flags, numbers)
    if task is None and (scored := sample.scored()):
        raise source.fault(
            f"has texts, and the objects in {quoted(scored)} may contain the scores of labels: to classify, write the "
            "label of each row as text in a column named label; to generate text, set task to generation",
            param="task",
        )
    return []


def _question(source: Source, sample: Sample, usual: list[str], flags: list[str], numbers: list[str]) -> BadData:
    """Return the error for a table with columns that look like targets, with advice for choosing one."""
    names = list(dict.fromkeys([*usual, *flags, *sample.categories()]))
    ways = []
    labels = sample.by_likelihood(name for name in names if name not in numbers)
    if len(flags) > 1 and set(labels) == set(flags):
        labels = []
    if labels:
        way = f"to classify, set columns.label to the name of the label column, such as {labels[0]!r}"
        ways.append(way + "; write 0 in its empty cells" * (labels[0] in sample.sparse_flags()))
    if len(flags) > 1:
        way = f"set columns.label to the columns of zeros and ones, {joined(flags)!r}"
        ways.append(f"if each label has its own column, {way}")
    if values := [name for name in names if name in numbers]:
        ways.append(f"to predict a number, set columns.value to the name of its column, such as {values[0]!r}")
    ways.append("to generate text, set task to generation")
    message = f"has texts, and its other columns may contain labels or values ({quoted(names)}), but no column is named"
    return source.fault(f"{message} label or value: {'; '.join(ways)}", param="columns.label")


def joined(flags: list[str]) -> str:
    """Return the value of columns.label for columns that each belong to one label."""
    return ",".join(flags[:_LISTED])


def _elements(value: Any) -> list[Any]:
    """Return the labels in a value that is written like a list of labels; otherwise, only the value itself."""
    elements = to_label_list(value)
    return [value] if elements is None else elements


def _are_texts(values: list[Any]) -> bool:
    """Whether the values are strings that are mostly distinct, and consist of several words on average."""
    if not values or not all(isinstance(value, str) for value in values):
        return False
    words = sum(len(value.split()) for value in values) / len(values)
    return words >= _WORDS and len(set(values)) > len(values) / 2


def _mean_length(values: list[Any]) -> float:
    return sum(map(len, values)) / len(values)


def _is_measured(text: str) -> bool:
    """Whether a cell contains a date or a number, perhaps with a decimal comma."""
    return bool(_DATE.match(text)) or _is_number(text.replace(",", "."))


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def is_number(value: Any) -> bool:
    """Whether a value is a number, or a text that contains one in any notation."""
    return not isinstance(value, bool) and _number(value) is not None


def _number(value: Any) -> float | None:
    """Return the number in a value, with any decimal mark or thousands separators, or None if it is not a number."""
    if isinstance(value, str):
        value = reading(value, ".") or reading(value, ",") or value
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _mark(value: Any) -> bool | None:
    try:
        return to_mark(value)
    except CellError:
        return None

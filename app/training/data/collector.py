"""Collects what the first pass over the data files stores about each row."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.tokenization.scripts import count_unspaced
from app.training.data.advice import find_full_column
from app.training.data.example import Example
from app.training.data.layouts import Layout
from app.training.data.notes import EMPTY, LEFT_OUT, MESSAGES, NO_COMPLETION, NO_TEXT, NotedRows, sentence
from app.training.data.number_file import NumberFile
from app.training.data.precision import Precision
from app.training.failures import BadData
from app.wording import quantity


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a row, stored for errors that can only be raised after all rows have been read."""

    layout: Layout
    where: str

    def fault(self, key: str, message: str) -> BadData:
        """Return the error for the value of `key` in this row."""
        return self.layout.fault(self.where, key, message)

    def relative_to(self, layout: Layout) -> str:
        """Return the row's place, for a message about the file of `layout`.

        If the row is in a different file, the place includes the file name.
        """
        return self.where if self.layout is layout else f"{self.where} of {self.layout.source.filename}"


_DETAILS = 20  # the maximum number of details of a note that are kept


@dataclass(slots=True)
class _Noted:
    """The rows of a file that a note applies to, and the details of the note."""

    first: Place
    rows: NotedRows = field(default_factory=NotedRows)
    details: dict[str, None] = field(default_factory=dict)

    def add(self, where: str, detail: str) -> None:
        self.rows.add(where)
        if detail and len(self.details) < _DETAILS:
            self.details[detail] = None

    def sentence(self, note: str) -> str:
        return sentence(note, self.rows.count, self.rows.places, list(self.details))


Stratum = tuple[tuple[str, ...], bool, tuple[str, ...]]  # `labels`, `listed` and `typed` of a row's `Target`


@dataclass(slots=True)
class Collector:
    """Collects the contents of a Scan row by row. Uses 37 bytes of memory per row, regardless of the row's length."""

    steps_path: Path | None  # if None, the steps are checked but not stored
    splits: array[int] = field(default_factory=lambda: array("B"))
    strata: array[int] = field(default_factory=lambda: array("q"))
    hashes: array[int] = field(default_factory=lambda: array("Q"))
    lengths: array[int] = field(default_factory=lambda: array("q"))
    unspaced: array[int] = field(default_factory=lambda: array("I"))
    values: array[float] = field(default_factory=lambda: array("d"))
    numbers: dict[Stratum, int] = field(default_factory=dict)  # maps each stratum to its index
    places: list[Place] = field(default_factory=list)
    steps: NumberFile | None = None
    precision: Precision | None = None  # counts lost digits; None if the steps are stored
    width: int = 0  # the number of features of a step
    empty: int = 0  # the number of rows that are left out because they are empty
    left_out: int = 0  # the number of rows that are left out for any other reason
    notes: dict[tuple[str, str], _Noted] = field(default_factory=dict)  # (file, note) -> the rows

    @property
    def rows(self) -> int:
        """The number of rows read so far, including the rows that are left out."""
        return len(self.splits) + self.empty + self.left_out

    def add(self, layout: Layout, example: Example, split: int) -> None:
        """Add a row; `split` is the code of its split. A row that is not usable is only counted.

        Raises BadData if the row's steps do not have as many features as the steps of earlier rows.
        """
        for note in example.notes:
            self._add_note(layout, example.where, note)
        if not example.usable:
            self._leave_out(layout, example)
            return
        if example.features_TF is not None:
            self._add_steps(layout, example.where, example.features_TF)
        stratum = example.target.labels, example.target.listed, example.target.typed
        if stratum not in self.numbers:
            self.numbers[stratum] = len(self.places)
            self.places.append(Place(layout, example.where))
        self.splits.append(split)
        self.strata.append(self.numbers[stratum])
        self.hashes.append(hash_input(example))
        self.values.append(example.value)
        features_TF = example.features_TF
        self.lengths.append(sum(map(len, example.texts)) if features_TF is None else len(features_TF))
        self.unspaced.append(sum(map(count_unspaced, example.texts)))

    def _add_note(self, layout: Layout, where: str, note: str) -> None:
        kind, _, detail = note.partition(":")
        noted = self.notes.get((layout.source.param, kind))
        if noted is None:
            noted = self.notes[layout.source.param, kind] = _Noted(Place(layout, where))
        noted.add(where, detail)

    def _leave_out(self, layout: Layout, example: Example) -> None:
        reasons = LEFT_OUT.intersection(example.notes)
        if not reasons:
            reasons = frozenset((NO_COMPLETION if example.turns else NO_TEXT,))
            self._add_note(layout, example.where, *reasons)
        is_empty = not EMPTY.isdisjoint(reasons)
        self.empty += is_empty
        self.left_out += not is_empty

    def _add_steps(self, layout: Layout, where: str, steps_TF: NDArray[np.float64]) -> None:
        if not self.width:
            self.width = steps_TF.shape[1]
            if self.steps_path is None:
                self.precision = Precision.of(self.width)
            else:
                self.steps = NumberFile(self.steps_path, np.float64, self.width)
        if steps_TF.shape[1] != self.width:
            first = self.places[0].relative_to(layout)
            reason = f"the row has {quantity(steps_TF.shape[1], 'number')} per step, but {first} has {self.width}"
            raise layout.fault(where, "features", f"{reason}; all rows must have the same number")
        if self.steps is not None:
            self.steps.append(steps_TF)
        if self.precision is not None:
            self.precision.add_row(steps_TF)

    def lost_precision(self, names: Sequence[str]) -> list[str]:
        """Return a sentence for each feature that loses too much precision; none if the steps are stored."""
        return [] if self.precision is None else self.precision.warnings(names)

    def remark(self) -> None:
        """Report each kind of note once per file, with the number of rows that it applies to."""
        for (_, note), noted in self.notes.items():
            source = noted.first.layout.source
            source.remark(note, self._sentence(note, noted), noted.first.where, noted.rows.count, MESSAGES[note][0])

    def _sentence(self, note: str, noted: _Noted) -> str:
        layout, text = noted.first.layout, noted.sentence(note)
        if note != NO_TEXT or layout.shape != "text" or 2 * noted.rows.count <= self.rows:
            return text
        return text + find_full_column(layout.source, layout.names["text"], layout.ignored)

    def reasons(self) -> list[str]:
        """Return one sentence for each reason why rows are left out."""
        return [self._sentence(note, noted) for (_, note), noted in self.notes.items() if note in LEFT_OUT]


def hash_input(example: Example) -> int:
    """Return a 64-bit hash of a row's input. Rows with equal inputs have equal hashes, regardless of their targets."""
    state = hashlib.blake2b(digest_size=8)
    if example.features_TF is not None:
        # Steps that float32 represents exactly are hashed as float32, as in earlier releases, so that the splits of
        # existing data do not change.
        narrow_TF = example.features_TF.astype(np.float32)
        exact = np.array_equal(narrow_TF, example.features_TF)
        state.update((narrow_TF if exact else example.features_TF).tobytes())
    texts = example.texts
    for text in (*texts, *[""] * (3 - len(texts))):
        state.update(text.encode("utf-8", "surrogatepass") + b"\x00")
    return int.from_bytes(state.digest(), "big")

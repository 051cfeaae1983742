"""Records as examples: what a row's cells say, by the columns that hold it.

Knows the types that a text, a label and a number may have; knows no tokens, no splits but their names, and no network.
Which column holds what is found by `layouts.py`.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.data import csv as data_csv
from app.training.data import json_lines as data_json
from app.training.data import parquet as data_parquet
from app.training.data.files import Record, Source
from app.training.failures import BadData, by_data

log = logging.getLogger(__name__)
TRAIN, VALIDATION, TEST, UNASSIGNED = 0, 1, 2, 3
NAMES = {TRAIN: "train", VALIDATION: "validation", TEST: "test"}
SPLITS = {"train": TRAIN, "val": VALIDATION, "validation": VALIDATION, "valid": VALIDATION, "test": TEST}
READERS = {"csv": data_csv, "tsv": data_csv, "jsonl": data_json, "parquet": data_parquet}
LARGEST = float(np.finfo(np.float32).max)
_SURROGATE = re.compile("[\ud800-\udfff]")
_STEPS = "must be a list of steps, each a list of the same number of numbers: [[0.1, 2], [0.3, 1]]"

_LIST = 'what starts with [ must be a JSON list of labels, like ["a", "b"]; else labels are parted by |'


@dataclass(frozen=True, slots=True)
class Turn:
    """A part of a text to continue: given, or to be learned. `ended`: the token that ends a text comes after it."""

    text: str
    learned: bool
    ended: bool


@dataclass(frozen=True, slots=True)
class Example:
    """One row, checked. One of `text`, `turns` and `features_TF` is there."""

    where: str
    text: str = ""
    pair: str | None = None
    turns: tuple[Turn, ...] = ()
    features_TF: NDArray[np.float32] | None = None
    labels: tuple[str, ...] = ()
    value: float = 0.0
    split: int = UNASSIGNED

    @property
    def texts(self) -> tuple[str, ...]:
        """All that is said in it, part by part."""
        if self.turns:
            return tuple(turn.text for turn in self.turns)
        return (self.text,) if self.pair is None else (self.text, self.pair)

    @property
    def usable(self) -> bool:
        """Whether there is something to learn from."""
        if self.turns:
            return any(turn.text for turn in self.turns if turn.learned)
        return self.features_TF is not None or bool(self.text.strip())


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of one file, by what they hold. `shape` is how a row is read:

    text (text, maybe a pair), completion (prompt and completion), chat (messages), features (numbers), series (one
    step of a numeric sequence a row).
    """

    source: Source
    task: str
    shape: str
    names: dict[str, str]
    steps: tuple[str, ...] = ()  # of `series`: the columns that are the features
    ignored: tuple[str, ...] = ()  # columns that mean nothing here
    absent: frozenset[str] = frozenset()  # keys that would mean something, if the first records had them

    def examples(self) -> Iterator[Example]:
        """Every row. Raises BadData with its place for one that cannot be read, whatever the reason."""
        records = self._records()
        if self.shape == "series":
            from app.training.data.series import examples

            yield from examples(self, records)
            return
        for record in records:
            with self.reading(record):
                example = self.example(record)
            yield example

    def _records(self) -> Iterator[Record]:
        """Every record. What a key means is settled by the first ones, so a later one cannot bring another key in."""
        for record in READERS[self.source.format].records(self.source):
            if not self.absent.isdisjoint(record.values):
                key = min(self.absent & record.values.keys())
                said = f"no record before has the key {key!r}; give it to every record, or to none"
                raise self.source.fault(said, record.where, f"column {key!r}")
            yield record

    @contextmanager
    def reading(self, record: Record) -> Iterator[None]:
        """Whatever goes wrong inside is wrong with the record."""
        try:
            yield
        except Exception as error:
            if not by_data(error):
                raise
            log.exception("%s of %s cannot be read", record.where, self.source.filename)
            raise self.source.fault(f"cannot be read ({type(error).__name__}: {error})", record.where) from None

    def example(self, record: Record) -> Example:
        where, split = record.where, self.split(record)
        if self.shape == "chat":
            from app.training.data.chat import turns

            return Example(where, turns=turns(self, record), split=split)
        if self.shape == "completion":
            prompt, completion = (self.text(record, key) for key in ("prompt", "completion"))
            return Example(where, turns=(Turn(prompt, False, False), Turn(completion, True, True)), split=split)
        labels, value = self.target(record)
        if self.shape == "features":
            return Example(where, features_TF=self.matrix(record), labels=labels, value=value, split=split)
        pair = self.text(record, "text_pair") if "text_pair" in self.names else None
        return Example(where, self.text(record, "text"), pair, labels=labels, value=value, split=split)

    def fail(self, where: str, key: str, message: str) -> BadData:
        return self.source.fault(message, where, f"column {self.names.get(key, key)!r}")

    def text(self, record: Record, key: str) -> str:
        return self.as_text(record, key, record.values.get(self.names[key]))

    def as_text(self, record: Record, key: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self.fail(record.where, key, f"{kind(value)} where a text must stand")
        if not value.isascii() and _SURROGATE.search(value):
            raise self.fail(record.where, key, "no valid Unicode: half of a surrogate pair stands alone")
        return value

    def split(self, record: Record) -> int:
        if "split" not in self.names:
            return UNASSIGNED
        value = record.values.get(self.names["split"])
        code = SPLITS.get(str(value).strip().lower())
        if code is None:
            said = f"{_shown(value)} is no split; it can be train, val, validation, valid or test"
            raise self.fail(record.where, "split", said)
        return code

    def target(self, record: Record) -> tuple[tuple[str, ...], float]:
        if self.task == "regression":
            return (), self.number(record, "value", record.values.get(self.names["value"]))
        if self.task == "multilabel":
            return self._labels(record), 0.0
        if self.task == "classification":
            return (self._label(record, record.values.get(self.names["label"])),), 0.0
        return (), 0.0

    def _label(self, record: Record, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            hint = "; several labels a row need the task multilabel" if isinstance(value, list) else ""
            raise self.fail(record.where, "label", f"{kind(value)} where a label must stand{hint}")
        if isinstance(value, float):
            if not math.isfinite(value):
                raise self.fail(record.where, "label", f"{value} is no label")
            value = int(value) if value.is_integer() else value
        label = self.as_text(record, "label", str(value)).strip()
        if not label:
            raise self.fail(record.where, "label", "the label is empty")
        return label

    def _labels(self, record: Record) -> tuple[str, ...]:
        value = record.values.get(self.names["label"])
        if value is None:
            value = []
        if isinstance(value, str):
            listed = value.lstrip().startswith("[")
            value = self._listed(record, value) if listed else [part for part in value.split("|") if part.strip()]
        if not isinstance(value, list):
            value = [value]
        return tuple(sorted({self._label(record, part) for part in value}))

    def _listed(self, record: Record, value: str) -> list[str]:
        """The labels that a cell of CSV holds as JSON."""
        try:
            found = json.loads(value)
        except (ValueError, RecursionError) as error:
            at, why = data_json.explain(value, error)
            said = f"{_LIST}; character {at} of this text: {why.partition('; each')[0]}"
            raise self.fail(record.where, "label", said) from None
        if not all(isinstance(label, str) for label in found):
            raise self.fail(record.where, "label", f"{_LIST}; not all of these are texts")
        return list(found)

    def number(self, record: Record, key: str, value: Any) -> float:
        """A finite number that float32 can hold as well."""
        try:
            number = float(value) if not isinstance(value, (bool, bytes, list, dict)) and value is not None else None
        except (TypeError, ValueError):
            number = None
        except OverflowError:
            number = math.inf
        if number is None:
            raise self.fail(record.where, key, f"{_shown(value)} is not a number")
        if not math.isfinite(number) or abs(number) > LARGEST:
            said = f"{_shown(value)} is not a finite number of at most {LARGEST:.1e}; leave such rows out, or fill them"
            raise self.fail(record.where, key, said)
        return number

    def matrix(self, record: Record) -> NDArray[np.float32]:
        """float32 steps (T, F) of a cell that holds all of them."""
        value = record.values.get(self.names["features"])
        if isinstance(value, str):
            value = self._decoded(record, value)
        if not isinstance(value, list) or not value:
            raise self.fail(record.where, "features", f"{_STEPS}; this is {kind(value)}")
        steps = value if isinstance(value[0], list) else [[number] for number in value]
        widths = {len(step) if isinstance(step, list) else -1 for step in steps}
        if len(widths) > 1 or min(widths) < 1:
            raise self.fail(record.where, "features", f"{_STEPS}; the steps differ in length")
        try:
            with np.errstate(over="ignore"):
                matrix_TF = np.asarray(steps, dtype=np.float32)
        except (TypeError, ValueError, OverflowError):
            matrix_TF = np.zeros(0, dtype=np.float32)
        if matrix_TF.ndim != 2 or not np.isfinite(matrix_TF).all():
            raise self._odd_one(record, steps)
        return matrix_TF

    def _odd_one(self, record: Record, steps: list[list[Any]]) -> BadData:
        """Which of the steps' entries is no number."""
        for t, step in enumerate(steps, 1):
            for f, value in enumerate(step, 1):
                try:
                    self.number(record, "features", value)
                except BadData as error:
                    reason = error.message.partition("column ")[2].partition(": ")[2]
                    return self.fail(record.where, "features", f"step {t}, feature {f}: {reason}")
        return self.fail(record.where, "features", _STEPS)

    def _decoded(self, record: Record, value: str) -> Any:
        """The steps that a cell of CSV holds as JSON."""
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            at, why = data_json.explain(value, error)
            said = f"{_STEPS}; character {at} of this text: {why.partition('; each')[0]}"
            raise self.fail(record.where, "features", said) from None


def kind(value: Any) -> str:
    names = {"NoneType": "nothing", "str": "a text", "list": "a list", "dict": "an object", "bool": "true or false"}
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f"the number {_shown(value)}" if number else names.get(type(value).__name__, "a value")


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer too long to be written
        return "a very long number"
    return text if len(text) <= 40 else f"{text[:37]}..."

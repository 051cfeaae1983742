"""Converts the value of a cell to a text, a label, a number or a matrix of steps."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.data.example import TEST, TRAIN, VALIDATION
from app.training.data.json_text import explain

_LARGEST = float(np.finfo(np.float32).max)
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPLIT_CODES = {"train": TRAIN, "val": VALIDATION, "validation": VALIDATION, "valid": VALIDATION, "test": TEST}
_LABEL_LIST = (
    'a cell that starts with [ must be a JSON list of labels, like ["a", "b"]; without the [, labels are separated by |'
)
_STEP_LIST = "must be a list of steps, each a list of the same number of numbers: [[0.1, 2], [0.3, 1]]"


class CellError(Exception):
    """The value of a cell cannot be used. The message gives the reason; the caller adds the file, row and column."""


def to_text(value: Any) -> str:
    """The value, which must be a string of valid Unicode."""
    if not isinstance(value, str):
        raise CellError(f"{describe(value)} where a text is expected")
    if not value.isascii() and _SURROGATE.search(value):
        raise CellError("not valid Unicode: it contains a lone surrogate")
    return value


def to_split(value: Any) -> int:
    """The code of the split that the value names, in upper or lower case."""
    code = _SPLIT_CODES.get(str(value).strip().lower())
    if code is None:
        raise CellError(f"{_shown(value)} is not a split; it can be train, val, validation, valid or test")
    return code


def to_label(value: Any) -> str:
    """A label as a text. A whole number is written without a fraction: 2.0 becomes '2'."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        hint = "; several labels in a row need the task multilabel" if isinstance(value, list) else ""
        raise CellError(f"{describe(value)} where a label is expected{hint}")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise CellError(f"{value} is not a label")
        value = int(value) if value.is_integer() else value
    label = to_text(str(value)).strip()
    if not label:
        raise CellError("the label is empty")
    return label


def to_labels(value: Any) -> tuple[str, ...]:
    """The sorted, distinct labels of a list, of a JSON list in a text, or of a text with | between them."""
    if value is None:
        value = []
    if isinstance(value, str):
        is_json = value.lstrip().startswith("[")
        value = _label_list(value) if is_json else [part for part in value.split("|") if part.strip()]
    if not isinstance(value, list):
        value = [value]
    return tuple(sorted({to_label(part) for part in value}))


def to_number(value: Any) -> float:
    """A finite number in the range of float32."""
    try:
        number = float(value) if not isinstance(value, (bool, bytes, list, dict)) and value is not None else None
    except (TypeError, ValueError):
        number = None
    except OverflowError:  # an integer beyond the range of float64
        number = math.inf
    if number is None:
        raise CellError(f"{_shown(value)} is not a number")
    if not math.isfinite(number) or abs(number) > _LARGEST:
        raise CellError(
            f"{_shown(value)} is not a finite number of at most {_LARGEST:.1e}; leave such rows out, or fill them"
        )
    return number


def to_matrix(value: Any) -> NDArray[np.float32]:
    """The steps (T, F) of a list of lists, or of JSON in a text. A plain list of numbers has one feature per step."""
    if isinstance(value, str):
        value = _parse(value, _STEP_LIST)
    if not isinstance(value, list) or not value:
        raise CellError(f"{_STEP_LIST}; this is {describe(value)}")
    steps = value if isinstance(value[0], list) else [[number] for number in value]
    widths = {len(step) if isinstance(step, list) else -1 for step in steps}
    if len(widths) > 1 or min(widths) < 1:
        raise CellError(f"{_STEP_LIST}; the steps differ in length")
    # NumPy converts all steps at once, but cannot say which number is wrong: only a failure is searched one by one.
    try:
        with np.errstate(over="ignore"):
            matrix_TF = np.asarray(steps, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        matrix_TF = np.zeros(0, dtype=np.float32)
    if matrix_TF.ndim != 2 or not np.isfinite(matrix_TF).all():
        raise _first_bad_number(steps)
    return matrix_TF


def describe(value: Any) -> str:
    """What kind of value it is, for an error message: 'a list', 'the number 3'."""
    kinds = {"NoneType": "nothing", "str": "a text", "list": "a list", "dict": "an object", "bool": "true or false"}
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f"the number {_shown(value)}" if is_number else kinds.get(type(value).__name__, "a value")


def _label_list(text: str) -> list[str]:
    labels = _parse(text, _LABEL_LIST)
    if not all(isinstance(label, str) for label in labels):
        raise CellError(f"{_LABEL_LIST}; not all elements of this list are texts")
    return list(labels)


def _parse(text: str, expectation: str) -> Any:
    """The JSON value in a text, which is how CSV holds a list."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        column, reason = explain(text, error)
        raise CellError(f"{expectation}; character {column} of this text: {reason}") from None


def _first_bad_number(steps: list[list[Any]]) -> CellError:
    for t, step in enumerate(steps, 1):
        for f, value in enumerate(step, 1):
            try:
                to_number(value)
            except CellError as error:
                return CellError(f"step {t}, feature {f}: {error}")
    return CellError(_STEP_LIST)


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print an integer of more than 4300 digits
        return "a very long number"
    return text if len(text) <= 40 else f"{text[:37]}..."

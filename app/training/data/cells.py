"""Converts the value of a cell to text, a label, a number or a matrix of steps."""

from __future__ import annotations

import json
import math
import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.data.example import TEST, TRAIN, UNASSIGNED, VALIDATION
from app.training.data.json_text import explain
from app.training.data.number_forms import UnclearNumber, reading

_LARGEST = float(np.finfo(np.float32).max)
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPLIT_CODES = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "validation", "valid", "dev", "development", "eval", "evaluation"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
_FLAGS = {**dict.fromkeys(("1", "1.0", "true"), True), **dict.fromkeys(("0", "0.0", "false"), False)}
_MARKS = _FLAGS | {
    **dict.fromkeys(("x", "✓", "✔", "☑", "☒", "yes", "y", "t"), True),
    **dict.fromkeys(("no", "n", "f", "-", "☐"), False),
}
_MARK_FORMS = "false and true, no and yes, n and y, f and t; - or an empty cell for 0; x or ✓ for 1"
NOT_A_NUMBER = "NaN"  # the label that stands for the number NaN
# A number with a unit, such as €5,00 and 12 kg; the quantifiers are possessive, so that matching takes linear time
_UNIT = r"(?:[$€£¥₹₽₩%‰°²³/]|[^\W\d_]){1,5}+"
_WITH_UNIT = re.compile(rf"(?:{_UNIT}\.?\s*+)?([+\-−]?\s?\d[\d.,\s'’]*+(?:,?[-–—])?)\s*+(?:{_UNIT}[23]?\.?)?")
_SIGNS = "$€£¥₹₽₩%‰ \u00a0\u202f"
_LONGEST_AMOUNT = 40  # in characters
NO_LABEL = "the label is empty"
LABEL_FORMS = 'write several labels as a JSON list, such as ["a", "b"], or separate them with |'
_STEP_LIST = "must be a list of steps; each step is a list with the same number of values, such as [[0.1, 2], [0.3, 1]]"


class CellError(Exception):
    """The value of a cell cannot be used. The message gives the reason; the caller adds the file, row and column."""


def is_blank(value: Any) -> bool:
    """Whether a cell has no value: it is null, NaN, an empty string, or only white space."""
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or (isinstance(value, float) and math.isnan(value))


def to_text(value: Any) -> str:
    """Return the value itself. Raises CellError unless the value is a string of valid Unicode."""
    if not isinstance(value, str):
        raise CellError(f"expected text, found {describe(value)}")
    if not value.isascii() and _SURROGATE.search(value):
        raise CellError("not valid Unicode: it contains a lone surrogate")
    return value


def to_input_text(value: Any) -> str:
    """Convert the value to text, formatted as in a CSV file. Null and NaN become an empty string."""
    if isinstance(value, str):
        return to_text(value)
    return "" if is_blank(value) else _scalar(value, "text")


def to_split(value: Any) -> int:
    """Return the code of the split that the value names, ignoring case, or UNASSIGNED for a blank value."""
    if is_blank(value):
        return UNASSIGNED
    code = _SPLIT_CODES.get(str(value).strip().lower())
    if code is None:
        raise CellError(f"{_shown(value)} is not a valid split; use train, val, validation, valid, dev, eval or test")
    return code


def to_label(value: Any) -> str:
    """Convert the value to a label. Whole numbers are written without a fraction: 2.0 becomes '2'.

    Blanks around a label are kept; `settle_cells` removes and reports them. NaN becomes the label 'NaN', as in a CSV
    file; `settle_names` warns about it.
    """
    if value is None:
        raise CellError(NO_LABEL)
    if isinstance(value, (list, dict)):
        hint = "; for several labels per row, set task to multilabel" if isinstance(value, list) else ""
        hint = f"; write the label as text; {LABEL_FORMS}" if isinstance(value, dict) else hint
        raise CellError(f"expected a label, found {describe(value)}{hint}")
    if isinstance(value, (float, Decimal)):
        if math.isnan(value):
            return NOT_A_NUMBER
        if math.isinf(value):
            raise CellError(f"{value} is not a label; write a finite number or a name")
        value = int(value) if value == int(value) else value
    label = to_text(value if isinstance(value, str) else _scalar(value, "a label"))
    if is_blank(label):
        raise CellError(NO_LABEL)
    return label


def to_flag(value: Any) -> bool:
    """Convert a cell that contains 0, 1, false or true to a bool. An empty cell counts as 0."""
    flag = False if is_blank(value) else _FLAGS.get(str(value).strip().lower())
    if flag is None:
        raise CellError(f"expected 0 or 1 (or false or true), found {_shown(value)}")
    return flag


def to_mark(value: Any) -> bool:
    """Convert a cell to a bool, as `to_flag` does. The cell may also contain a mark such as x, ✓, yes or no."""
    mark = False if is_blank(value) else _MARKS.get(str(value).strip().lower())
    if mark is None:
        raise CellError(f"expected 0 or 1 (also accepted: {_MARK_FORMS}), found {_shown(value)}")
    return mark


def to_number(value: Any) -> float:
    """Convert the value to a number. Raises CellError unless the number is finite and within the range of float32."""
    if isinstance(value, UnclearNumber):
        raise CellError(value.reason)
    is_other = value is None or isinstance(value, (bool, bytes, list, dict))
    try:  # float() also accepts underscores between digits, as in 1_000
        number = None if is_other or (isinstance(value, str) and "_" in value) else float(value)
    except (TypeError, ValueError):
        number = None
    except OverflowError:  # an integer beyond the range of float64
        number = math.inf
    if number is None:
        raise CellError(f"{_shown(value)} is not a number{_bare_number(value)}")
    if not math.isfinite(number) or abs(number) > _LARGEST:
        raise CellError(
            f"{_shown(value)} is not a finite number of at most {_LARGEST:.1e}; remove such rows, or fill in values"
        )
    return number


def _bare_number(value: Any) -> str:
    """Return advice for a number with a currency sign, another unit or thousands separators, or "" otherwise."""
    match = _WITH_UNIT.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= _LONGEST_AMOUNT else None
    written = match[1].strip().rstrip("-–—").rstrip(",").replace("− ", "−") if match else ""
    bare = reading(written, ".") or (None if match and match[1] == match[0] else reading(written, ","))
    if not bare:
        return ""
    return f"; write numbers without currency signs, other units, thousands separators or percent signs, such as {bare}"


def is_amount(text: str) -> bool:
    """Whether a text is a number in any notation, perhaps with a sign, such as 1.422,54 and €5,00."""
    bare = text.strip(_SIGNS)
    return reading(bare, ".") is not None or reading(bare, ",") is not None


def to_matrix(value: Any) -> NDArray[np.float64]:
    """Convert a list of lists, or a JSON string that contains one, to a matrix of steps (T, F).

    In a plain list of numbers, each number is a step with one feature. The result has the precision of float64; every
    number is within the range of float32.
    """
    if isinstance(value, str):
        value = parse_json(value, _STEP_LIST)
    if not isinstance(value, list) or not value:
        raise CellError(f"{_STEP_LIST}; found {describe(value)}")
    steps = value if isinstance(value[0], list) else [[number] for number in value]
    widths = {len(step) if isinstance(step, list) else -1 for step in steps}
    if len(widths) > 1 or min(widths) < 1:
        raise CellError(f"{_STEP_LIST}; {_unequal(widths)}")
    # NumPy converts all steps at once, but does not report which number is wrong. The numbers are therefore checked
    # one by one only if the conversion fails.
    try:
        matrix_TF = np.asarray(steps, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        matrix_TF = np.zeros(0, dtype=np.float64)
    if matrix_TF.ndim != 2 or not (np.abs(matrix_TF) <= _LARGEST).all():
        raise _first_bad_number(steps)
    return matrix_TF


def _unequal(widths: set[int]) -> str:
    """Describe steps with these lengths, of which -1 stands for a step that is not a list."""
    if len(widths) == 1:
        return "the steps are empty lists"
    return "some steps are lists and others are not" if -1 in widths else "the steps differ in length"


def is_plain_list(value: Any) -> bool:
    """Whether a value that `to_matrix` accepts is a plain list of numbers, and not a list of lists."""
    if isinstance(value, str):
        return not value.lstrip()[1:].lstrip().startswith("[")
    return not isinstance(value[0], list)


def describe(value: Any) -> str:
    """Describe a value for an error message, such as 'a list' or 'the number 3'."""
    kinds = {"NoneType": "nothing", "str": "a string", "list": "a list", "dict": "an object", "bool": "true or false"}
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value in ([], {}):
        return "an empty list" if isinstance(value, list) else "an empty object"
    return f"the number {_shown(value)}" if is_number else kinds.get(type(value).__name__, "a value")


def _scalar(value: Any, expectation: str) -> str:
    """Format a number, a boolean, a date or a time as in a CSV file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return str(value).removesuffix(" 00:00:00")
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, (int, float, date, time, timedelta)):
        return str(value)
    raise CellError(f"expected {expectation}, found {describe(value)}")


def parse_json(text: str, expectation: str) -> Any:
    """Parse a string as JSON, which is the format of lists in CSV cells.

    If the string is malformed, raises a CellError whose message begins with `expectation`.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        column, reason = explain(text, error)
        raise CellError(f"{expectation}; error at character {column}: {reason}") from None


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

"""Reads label cells that contain several labels, in the forms that programs and annotation tools write."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from app.training.data.cells import LABEL_FORMS, CellError, describe, is_blank, parse_json, to_flag, to_label

_LONGEST_LITERAL = 10_000  # the maximum number of characters of a Python dictionary or set
_TEXT_KEYS = {"choices", "choice", "labels", "label", "accept", "categories", "tags"}  # keys of objects with one label
_STRING = r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\""""
_QUOTED = re.compile(_STRING)
# What follows a string in a list. The quantifiers are possessive, so that matching takes linear time.
_AFTER = r"""(?:\s*+,\s*+|\s++(?=['"\])])|(?=[\])]))"""
_PYTHON_LIST = re.compile(rf"[\[(]\s*+((?:(?:{_STRING}){_AFTER})*)[\])]")
_CALL = re.compile(r"(?:np\.|numpy\.|pd\.)?(?:frozenset|set|array|list|tuple|Index)\(")
_DTYPE = re.compile(r",\s*dtype=[^()]*$")
_MARK = re.compile(r"[,;|:'\"\n\t]")  # a character between or around the labels of a list
_IN_PARENTHESES = re.compile(r"[,;|\n\t]|^\(\s*['\"]")  # like _MARK, but '(other: unknown)' may be a single label
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_LABEL_LIST = (
    'a cell that starts with [ must be a JSON list of labels, such as ["a", "b"]; in other cells, labels are '
    "separated by |"
)


def to_labels(value: Any) -> tuple[tuple[str, ...], bool]:
    """Return the sorted, distinct labels of a cell, and whether the cell is a list of labels.

    The following cells count as lists: those that `to_label_list` reads, and a string in which | separates labels. Any
    other string is returned as a single label. Whether it contains several labels, for example separated by commas, is
    decided by `settle_lists` once all rows are known. Raises CellError for a string that is written like a list but
    cannot be read.
    """
    elements = to_label_list(value)
    if elements is None and isinstance(value, str):
        if value.lstrip().startswith("["):
            raise _not_a_list(value)
        if looks_like_list(value):
            raise CellError(
                f"the cell looks like a list of labels, but cannot be read as one; {LABEL_FORMS}; if it is one label, "
                "write it in a JSON list"
            )
        parts = split_labels(value, "|") if "|" in value else [value]
        elements = None if parts == [value] else parts
    if elements is None:
        is_empty = is_blank(value) and not isinstance(value, float)  # NaN is a label, as in a CSV file
        return (() if is_empty else (to_label(value),)), False
    return to_distinct(elements), True


def to_distinct(elements: list[Any]) -> tuple[str, ...]:
    """Return the distinct labels of a list, sorted. Raises CellError for an element that is not a label."""
    for element in elements:
        if _is_span(element):
            raise CellError(
                f"the list contains labels of passages, such as {element}, not labels of the whole text; {LABEL_FORMS}"
            )
        if isinstance(element, (list, dict)):
            raise CellError(f"the list of labels contains {describe(element)}; {LABEL_FORMS}")
    return tuple(sorted({to_label(element) for element in elements}))


def _is_span(element: Any) -> bool:
    """Whether an element is the start, the end and the label of a passage, as annotation tools write it."""
    return isinstance(element, list) and len(element) == 3 and [type(part) for part in element] == [int, int, str]


def to_label_list(value: Any) -> list[Any] | None:
    """Return the elements of a value that can only be a list of labels, or None for any other value.

    Accepts a list; an object with a single key whose value is a list of labels, such as {"choices": ["a", "b"]}, which
    annotation tools write; a list of one such object; and an object of zeros and ones, whose keys with a one are the
    labels. Each of these may be a string, encoded as JSON or printed by Python.
    """
    is_text = isinstance(value, str)
    if is_text:
        value = _parse(value.strip()) if _begins_like_list(value) else None
    value = _of_object(value[0] if _is_wrapped(value) else value)
    if not isinstance(value, list) or (is_text and any(isinstance(element, (list, dict)) for element in value)):
        return None
    return value


def is_one_hot_cell(value: Any) -> bool:
    """Whether a label cell is an object of zeros and ones, perhaps encoded as a string."""
    return is_one_hot(_parse(value) if isinstance(value, str) and value.startswith("{") else value)


def is_one_hot(value: Any) -> bool:
    """Whether a value is an object with at least two keys, one per label, that contains only zeros and ones.

    False and true count as zeros and ones. A null counts as a zero, because Parquet files contain all keys in every
    row, but an object of nulls is not accepted.
    """
    if not isinstance(value, dict) or len(value) < 2 or all(flag is None for flag in value.values()):
        return False
    try:
        return all(flag is None or (flag != "" and to_flag(flag) in (False, True)) for flag in value.values())
    except CellError:
        return False


def is_scored_cell(value: Any) -> bool:
    """Whether a cell is an object of numbers from 0 to 1, such as scores of labels, perhaps encoded as a string."""
    value = _parse(value) if isinstance(value, str) and value.startswith("{") else value
    if not isinstance(value, dict) or len(value) < 2:
        return False
    return all(isinstance(score, (int, float)) and 0 <= score <= 1 for score in value.values())


def looks_like_list(text: str) -> bool:
    """Whether a string is written like several labels in brackets, even if it cannot be read as such.

    False for strings such as '[other]', '(other)' and '(a), (b)', which may be single labels.
    """
    bare = _unquoted(text)
    if call := _CALL.match(bare):
        return bare.endswith(")") and _MARK.search(bare, call.end()) is not None
    if bare.startswith("("):
        return _closing(bare) == len(bare) - 1 and _IN_PARENTHESES.search(bare) is not None
    return bare.startswith(("[", "{")) and _MARK.search(bare) is not None


def _begins_like_list(text: str) -> bool:
    bare = _unquoted(text)
    return bare.startswith(("[", "{", "(")) or _CALL.match(bare) is not None


def _unquoted(text: str) -> str:
    """Return the string without blanks and quotes around it."""
    bare = text.strip()
    is_quoted = len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'"
    return bare[1:-1].strip() if is_quoted else bare


def split_labels(text: str, delimiter: str) -> list[str]:
    """Split a cell at the delimiters that are not within brackets or double quotes. Removes blanks and empty parts.

    Returns the whole cell if a bracket or a quote is not closed, or if all parts are empty.
    """
    parts: list[str] = []
    open_part = ""
    for part in text.split(delimiter):
        open_part = f"{open_part}{delimiter}{part}" if open_part else part
        if _is_balanced(open_part):
            parts.append(open_part.strip())
            open_part = ""
    return [text] if open_part else list(filter(None, parts)) or [text]


def _is_balanced(text: str) -> bool:
    """Whether all brackets and quotes are closed. Single quotes count only if the string begins with one."""
    open_: list[str] = []
    for character in text:
        if character in _PAIRS:
            open_.append(_PAIRS[character])
        elif character in ")]}" and (not open_ or open_.pop() != character):
            return False
    is_quoted = text.lstrip().startswith("'")
    return not open_ and text.count('"') % 2 == 0 and not (is_quoted and text.count("'") % 2)


def _closing(text: str) -> int:
    """Return the index of the bracket that closes the first one, or -1 if there is none."""
    depth = 0
    for index, character in enumerate(text):
        depth += (character in _PAIRS) - (character in ")]}")
        if not depth:
            return index
    return -1


def _is_wrapped(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict)


def _of_object(value: Any) -> Any:
    """Return the list of labels that an object represents, or the value itself if it is not such an object."""
    if is_one_hot(value):
        return [key for key, flag in value.items() if to_flag(flag)]
    if isinstance(value, dict) and len(value) == 1:
        key, inner = next(iter(value.items()))
        if isinstance(inner, str) and str(key).lower() in _TEXT_KEYS:
            return [inner]
        is_flat = isinstance(inner, list) and not any(isinstance(element, (list, dict)) for element in inner)
        return inner if is_flat else value
    return value


def _parse(text: str) -> Any:
    """Parse a string as JSON or as a Python list, tuple, dictionary, set or array. Returns None if this fails.

    Also accepts a list of strings as NumPy prints it, with spaces instead of commas. The result is None for a list that
    mixes strings with other values.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _python_value(text)
    if isinstance(value, str):  # the list was encoded twice
        return _parse(value.strip()) if _begins_like_list(value) else None
    if value == {}:
        return []
    if isinstance(value, list) and len({isinstance(element, str) for element in value}) > 1:
        return None
    return value


def _python_value(text: str) -> Any:
    """Parse a value as Python prints it; a set becomes a sorted list. Returns None if this fails."""
    if text[:1] == text[-1:] and text[:1] in ("'", '"'):
        return _parse(text[1:-1].strip())
    if call := _CALL.match(text):
        inner = _DTYPE.sub("", text[call.end() : -1]).strip() if text.endswith(")") else "?"
        return _parse(inner) if inner else []
    if not text.startswith("{"):
        match = _PYTHON_LIST.fullmatch(text)
        return None if match is None else [_unescape(part) for part in _QUOTED.findall(match[1])]
    try:
        value = ast.literal_eval(text) if len(text) <= _LONGEST_LITERAL else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(value, set):
        kinds = {type(element) for element in value}
        return sorted(value) if kinds in ({str}, {int}) else None
    return value if isinstance(value, dict) else None


def _unescape(quoted: str) -> str:
    """Evaluate a Python string literal. If it is invalid, returns the text between its quotes."""
    try:
        return str(ast.literal_eval(quoted))
    except (ValueError, SyntaxError):
        return quoted[1:-1]


def _not_a_list(text: str) -> CellError:
    """Return the error for a string that begins with [ but is not a list of labels. Raises it for malformed JSON."""
    parse_json(text, _LABEL_LIST)
    return CellError(f"{_LABEL_LIST}; not all elements of this list are strings")

"""Parses JSON from untrusted files: valid Unicode, bounded numbers, depth and size, and no repeated names.

Python's own parser accepts lone surrogates, integers of any length and infinity. None of these values can be sent in a
reply.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any

DEPTH = 32  # levels of lists and objects
VALUES = 2**20  # commas and opening brackets; limits the number of values and the memory of the result
SMALLEST, LARGEST = -(2**63), 2**63 - 1
VOCABULARY_VALUES = 2**22  # for tokenizers; enough for a vocabulary of a million words with as many merges
DIGITS = 20  # characters of the longest integer from SMALLEST to LARGEST
ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
SURROGATE = re.compile("[\ud800-\udfff]")
INVALID_TEXT = "it contains a lone surrogate, which is not valid Unicode"
INVALID_NUMBER = "it contains an integer outside the range from -2^63 to 2^63 - 1, or an infinite number"


class JsonInvalid(ValueError):
    """The content is not valid JSON, or exceeds a limit.

    The message gives the reason in at most about 200 characters.
    """


def parse(content: bytes, *, depth: int = DEPTH, values: int = VALUES) -> Any:
    """Parse UTF-8 JSON with at most `depth` levels of nesting and `values` values. Raises JsonInvalid."""
    if sum(content.count(mark) for mark in (b",", b"[", b"{")) > values:
        raise JsonInvalid(f"it contains more than {values} values")
    try:
        text = content.decode()
        value = _loads(text)
    except RecursionError:
        raise JsonInvalid(f"it is nested more than {depth} levels deep") from None
    except JsonInvalid:
        raise
    except ValueError as error:
        raise JsonInvalid(str(error)[:200]) from None
    _check_depth(value, depth)
    if ESCAPED_SURROGATE.search(text):
        _check_text(value)
    return value


def check(value: Any, *, depth: int = DEPTH) -> None:
    """Raise JsonInvalid unless `parse` could have returned `value`, which consists of dicts and lists."""
    _check_depth(value, depth)
    _check_text(value)
    if mend(value) != value:
        raise JsonInvalid(INVALID_NUMBER)


def mend(value: Any, depth: int = DEPTH) -> Any:
    """Return a modified copy that `check` accepts.

    Lone surrogates become U+FFFD. Numbers that exceed a limit, NaN, lists and objects that are nested too deeply, and
    values of unsupported types become None. Tuples become lists, and names of other types become strings.
    """
    if isinstance(value, str):
        return SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict) and depth:
        return {mend(str(name)): mend(inner, depth - 1) for name, inner in value.items()}
    if isinstance(value, list | tuple) and depth:
        return [mend(inner, depth - 1) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool) or (isinstance(value, int) and SMALLEST <= value <= LARGEST):
        return value
    return None


def _loads(text: str) -> Any:
    hooks = {"parse_int": _integer, "parse_float": _number, "parse_constant": _refuse_constant}
    return json.loads(text, object_pairs_hook=_unique, **hooks)  # type: ignore[arg-type]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise JsonInvalid("a name occurs twice in one object")
    return fields


def _integer(text: str) -> int:
    # The length is checked first: the time to convert a decimal number grows with the square of its length.
    if len(text) > DIGITS or not SMALLEST <= (value := int(text)) <= LARGEST:
        raise JsonInvalid(INVALID_NUMBER)
    return value


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise JsonInvalid(f"{text[:40]} is too large for a 64-bit floating-point number")
    return value


def _refuse_constant(name: str) -> None:
    raise JsonInvalid(f"{name} is not allowed")


def _check_depth(value: Any, depth: int) -> None:
    level = [value]
    for _ in range(depth):
        level = [inner for outer in level for inner in _children(outer) if isinstance(inner, dict | list)]
        if not level:
            return
    raise JsonInvalid(f"it is nested more than {depth} levels deep")


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _check_text(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise JsonInvalid(INVALID_TEXT) from None

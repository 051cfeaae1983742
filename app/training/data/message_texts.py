"""Reads conversations that are written as text: as JSON, or as Python or NumPy print a list of messages."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from app.training.data.cells import CellError
from app.training.data.json_text import explain

_LONGEST_LITERAL = 1 << 20  # the maximum number of characters of a Python list, because parsing takes much memory
_BETWEEN = re.compile(r"\}[^\S\n]*\n\s*\{")  # NumPy separates the objects of an array with line ends
_KEYS = ("messages", "conversations")  # keys of an object that contains the list of messages


def is_written(value: Any) -> bool:
    """Whether a cell is a text that begins like a list of messages."""
    return isinstance(value, str) and re.match(r"\s*(?:array\()?\[\s*\{", value) is not None


def read_messages(text: str) -> Any:
    """Return the list of messages in a text. Raises CellError for a text that is not such a list."""
    if not text.lstrip().startswith(("[", "{", "array(")):
        raise CellError(
            "must be a list of messages with role and content, perhaps written as JSON; found a plain text; if the "
            "column contains plain texts, set columns.text to its name"
        )
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        value = _python_list(text.strip())
        if value is None:
            column, reason = explain(text, error)
            raise CellError(f"must be a list of messages as JSON; error at character {column}: {reason}") from None
    if isinstance(value, dict):
        value = next((value[key] for key in _KEYS if key in value), value)
    return value


def _python_list(text: str) -> Any:
    """Return the list that Python or NumPy has printed, or None if the text is not such a list."""
    if text.startswith("array(") and text.endswith(")"):
        text = re.sub(r",\s*dtype=\w+$", "", text[len("array(") : -1])
    if len(text) > _LONGEST_LITERAL:
        return None
    try:
        value = ast.literal_eval(_BETWEEN.sub("}, {", text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, (list, dict)) else None

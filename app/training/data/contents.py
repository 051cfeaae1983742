"""Recognises the format of a text file by its content, regardless of its name."""

from __future__ import annotations

import json
import re
from typing import Any

from app.training.data.fasttext import PREFIX
from app.training.data.usual_names import INPUTS, TARGETS

_SAMPLE = 200  # the number of lines that are examined
_DELIMITER = re.compile(r"[,;\t|]")
_KEYS = {"text", "label", "value", "prompt", "features", "series"}  # column names that identify a table
_ARRAY = re.compile(r"\[\s*[\[{]")
_OBJECT = re.compile(r'\{\s*+"(?:[^"\\\n]|\\.)*+"\s*+:')
_EVEN = 0.9  # the minimum share of the lines that must have at least as many cells as the header


def format_by_content(start: str) -> str:
    """Return the format of a file whose name does not reveal it, or "text" for plain text. `start` is its beginning."""
    text = start.lstrip()
    line = text.replace("\r", "\n").split("\n", 1)[0]
    if text.startswith("{") or _ARRAY.match(text):
        return "jsonl"
    if line.lower().startswith("sep="):
        return "csv"
    names = {cell.strip(' "').lower() for cell in _DELIMITER.split(line)}
    if names & _KEYS:
        return "tsv" if "\t" in line else "csv"
    return "text"


def other_format(start: str, format_: str) -> tuple[str, str]:
    """If the content is clearly a table in a format other than `format_`, return that format and the evidence for it;
    otherwise, return ("", "").

    `start` is the beginning of the file, up to the end of a complete line.
    """
    sample = [line for line in re.split(r"\r\n|\r|\n", start) if line.strip()][:_SAMPLE]
    if format_ == "text" or not sample:
        return "", ""
    if len(sample) > 1 and all(line.lstrip().startswith(PREFIX) for line in sample):
        return "fasttext", f"its lines begin with {PREFIX}"
    if format_ != "jsonl":
        return ("jsonl", "it begins with JSON") if _is_json(start.lstrip(), sample) else ("", "")
    if start.lstrip()[:1] in ("{", "[") or _parsed(sample[0]) is not None:
        return "", ""
    for delimiter, name in (("\t", "tsv"), (",", "csv"), (";", "csv"), ("|", "csv")):
        cells = [cell.strip(' "') for cell in sample[0].split(delimiter)]
        even = sum(line.count(delimiter) >= len(cells) - 1 for line in sample) >= _EVEN * len(sample)
        is_named = not (INPUTS | TARGETS).isdisjoint(cell.lower() for cell in cells)
        if 1 < len(cells) <= len(set(cells)) and even and (is_named or len(sample) > 2):
            return name, "its first line names columns, and no line is JSON"
    return "", ""


def _is_json(text: str, sample: list[str]) -> bool:
    if text.startswith("{"):
        return bool(_OBJECT.match(text))
    values = [_parsed(line) for line in sample]
    return bool(_ARRAY.match(text)) or all(isinstance(value, list) for value in values)


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None

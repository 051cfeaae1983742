"""Reads the values of a JSON text that is not in JSON Lines format, such as an array or multi-line objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Set
from typing import Any

from app.training.data import files
from app.training.data.files import Source, characters
from app.training.data.json_text import explain
from app.training.failures import BadData

_SPACE = re.compile(r"[ \t\r\n]*")
_BETWEEN = re.compile(r"[ \t\r\n]*,?[ \t\r\n]*")
_OBJECT_LINE = re.compile(r"\n[ \t]*\{")
_NEXT_OBJECT = re.compile(r"\}[ \t]*,[ \t]*(?=\{)")
_LAST_OBJECT = re.compile(r"\}\s*\]\Z")
_AHEAD = 1 << 20  # the number of characters in which the end of a malformed object is searched for
_DECODER = json.JSONDecoder()
_READ = 1 << 16  # the number of characters to read at once


class JsonStream:
    """Decodes the values of a JSON text one by one while the text is read.

    The next value begins at `line` and `column`, counted from 1.
    """

    def __init__(self, source: Source, decoder: json.JSONDecoder) -> None:
        self._source, self._decoder = source, decoder
        self._blocks = characters(source)
        self._text, self._at = "", 0
        self._in_array = False
        self._keys: Set[str] = frozenset()  # the keys of the last object
        self._begins_line = True  # whether only blanks and brackets precede the next value in its line
        self.line, self.column = 1, 1
        self._more(_READ)
        self._pass(_SPACE)

    def enter_array(self) -> bool:
        """Enter the array that begins at the current position. Returns False if there is none."""
        if not self._text.startswith("[", self._at):
            return False
        self._in_array = True
        self._advance(self._at + 1)
        self._pass(_SPACE)
        return True

    def at_end(self) -> bool:
        """Whether the array (or the text, if the values are not in an array) ends at the current position."""
        return self._at >= len(self._text) or (self._in_array and self._text[self._at] == "]")

    def next(self) -> Any:
        """Return the next value, or its fault if it is malformed but can be passed over. Otherwise, raises BadData.

        A malformed value can be passed over if it begins a line and either is the last value, or is followed by a line
        on which an object begins in the same column. Within a line of an array, an object that follows a valid one can
        be passed over if it is the last one, or if the next object has the same keys as the valid one. In the latter
        case, the following call returns this next object.
        """
        characters = _READ
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                # An incomplete value looks malformed, so read more text and try again. Doubling the amount each time
                # keeps the total time linear in the size of the value.
                if isinstance(error, json.JSONDecodeError) and self._more(characters):
                    characters *= 2
                    continue
                return self._pass_over(self._malformed(error))
            self._advance(end)
            self._pass(_BETWEEN)
            self._keys = value.keys() if isinstance(value, dict) else self._keys
            return value

    def _pass_over(self, fault: BadData) -> BadData:
        """Move past a malformed value, and return its fault. Raises the fault if the end of the value is uncertain."""
        start = re.compile(rf"\n[ \t]{{{self.column - 1}}}(?=\{{)")
        while (match := start.search(self._text, self._at)) is None and self._more(_READ):
            pass
        if match is None:  # this may be the last value
            rest = self._text[self._at :].rstrip()
            is_last = not _OBJECT_LINE.search(rest) and (rest.endswith("]") or not self._in_array)
            passed = rest[:-1].rstrip() if self._in_array else rest
            end = self._at + len(rest) - 1 if self._in_array else len(self._text)
        else:
            is_last, passed, end = False, self._text[self._at : match.start()], match.end()
        if not self._begins_line or (match is None and not is_last):
            return self._pass_over_in_line(fault)
        last = self.line + passed.count("\n")
        lines = f"line {last} is" if last == self.line else f"lines {self.line} to {last} are"
        self._advance(end)
        return self._source.fault(f"{fault.reason}; {lines} not read", *fault.where)

    def _pass_over_in_line(self, fault: BadData) -> BadData:
        """Move past a malformed object in a line of an array. Raises the fault if the end of the object is uncertain.

        The end is certain if an object with the same keys as the last one follows, or if the array has no more objects.
        """
        while len(self._text) - self._at < _AHEAD and self._more(_READ):
            pass
        if not (self._in_array and self._keys and self._text.startswith("{", self._at)):
            raise fault
        for match in _NEXT_OBJECT.finditer(self._text, self._at, self._at + _AHEAD):
            try:
                value, _ = self._decoder.raw_decode(self._text, match.end())
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict) and value.keys() == self._keys:
                self._advance(match.end())
                return self._source.fault(f"{fault.reason}; this object is not read", *fault.where)
        rest = self._text[self._at :].rstrip()
        if len(rest) >= _AHEAD or "{" in rest[1:] or not _LAST_OBJECT.search(rest):
            raise fault
        self._advance(self._at + len(rest) - 1)
        return self._source.fault(f"{fault.reason}; this object is not read", *fault.where)

    def check_end(self) -> None:
        """Raise BadData unless the array ends at the current position and is followed only by white space."""
        place = f"line {self.line}", f"column {self.column}"
        if not self._text.startswith("]", self._at):
            raise self._source.fault("the array is not closed with ]; is the file complete?", *place)
        self._advance(self._at + 1)
        self._pass(_SPACE)
        if self._at < len(self._text):
            place = f"line {self.line}", f"column {self.column}"
            raise self._source.fault(
                "there is more text after the end of the array, but a file may contain only one array", *place
            )

    def _pass(self, pattern: re.Pattern[str]) -> None:
        while True:
            match = pattern.match(self._text, self._at)
            end = match.end() if match else self._at
            if end < len(self._text) or not self._more(_READ):
                self._advance(end)
                return

    def _advance(self, end: int) -> None:
        feeds = self._text.count("\n", self._at, end)
        before = self._text[self._text.rfind("\n", self._at, end) + 1 if feeds else self._at : end]
        self._begins_line = (self._begins_line or feeds > 0) and not before.strip(" \t\r[")
        if feeds:
            self.line, self.column = self.line + feeds, end - self._text.rindex("\n", self._at, end)
        else:
            self.column += end - self._at
        self._at = end

    def _more(self, characters_: int) -> bool:
        """Read more text, and discard decoded text. Returns whether there was more text."""
        parts, size = [self._text[self._at :]], 0
        for block in self._blocks:
            parts.append(block)
            size += len(block)
            if size >= characters_:
                break
        if not size:
            return False
        if len(parts[0]) > files.RECORD_BYTES:
            place = f"line {self.line}", f"column {self.column}"
            raise self._source.fault(files.too_long(), *place)
        self._text, self._at = "".join(parts), 0
        return True

    def _malformed(self, error: ValueError | RecursionError) -> BadData:
        rest = self._text[self._at :]
        if isinstance(error, json.JSONDecodeError):
            position, reason = error.pos - self._at, f"not valid JSON: {error.msg}"
        else:
            column, reason = explain(rest, error)
            position = column - 1
        before = rest[:position]
        line = self.line + before.count("\n")
        column = len(before) - before.rindex("\n") if "\n" in before else self.column + len(before)
        return self._source.fault(reason, f"line {line}", f"column {column}")


def objects(source: Source, decoder: json.JSONDecoder = _DECODER) -> Iterator[tuple[int, Any]]:
    """Yield the line and the value of each element if the file is an array, otherwise of each value in the file.

    For a malformed value that can be passed over, yields its fault.
    """
    stream = JsonStream(source, decoder)
    is_array = stream.enter_array()
    line = stream.line
    while not stream.at_end():
        yield line, stream.next()
        line = stream.line
    if is_array:
        stream.check_end()

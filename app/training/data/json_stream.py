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
_FIRST_KEY = re.compile(r'\{\s*+"?+([^"\\\n:,{}\[\]]++)"?+\s*:')  # the quotes around the key may be missing
# The number of characters in which the end of a malformed object is searched for: in the same line, and in later lines
_AHEAD, _FAR = 1 << 20, 1 << 24
_LONGEST_WORD = 12  # no shorter than -Infinity, the longest word without quotes, or than an escape in a string
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
        on which an object begins in the same column. Within a line of an array, an object can be passed over if it is
        the last one, or if the next object is like the others (`_is_next`). In the latter case, the following call
        returns this next object.
        """
        characters = _READ
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                # An incomplete value looks malformed, so read more text and try again. Doubling the amount each time
                # keeps the total time linear in the size of the value.
                if _may_be_incomplete(error, len(self._text)) and self._more(characters):
                    characters *= 2
                    continue
                return self._pass_over(self._malformed(error))
            self._advance(end)
            self._pass(_BETWEEN)
            self._keys = value.keys() if isinstance(value, dict) else self._keys
            return value

    def _pass_over(self, fault: BadData) -> BadData:
        """Move past a malformed value, and return its fault. Raises the fault if the end of the value is uncertain."""
        if not self._begins_line:
            return self._pass_over_in_line(fault)
        start = re.compile(rf"\n[ \t]{{{self.column - 1}}}(?=\{{)")
        characters = _READ
        while (match := start.search(self._text, self._at)) is None:
            is_far = len(self._text) - self._at >= _FAR
            if is_far or not self._more(characters):
                break
            characters *= 2
        if match is None:  # this may be the last value, or the first of several in a line
            rest = self._text[self._at :].rstrip()
            is_last = not _OBJECT_LINE.search(rest) and (rest.endswith("]") or not self._in_array)
            is_first = not self._keys and _NEXT_OBJECT.search(rest) is not None
            if not is_last or is_first or self._more(1):
                return self._pass_over_in_line(fault)
            passed = rest[:-1].rstrip() if self._in_array else rest
            end = self._at + len(rest) - 1 if self._in_array else len(self._text)
        else:
            passed, end = self._text[self._at : match.start()], match.end()
        last = self.line + passed.count("\n")
        lines = f"line {last} is" if last == self.line else f"lines {self.line} to {last} are"
        self._advance(end)
        return self._source.fault(f"{fault.reason}; {lines} not read", *fault.where)

    def _pass_over_in_line(self, fault: BadData) -> BadData:
        """Move past a malformed object in a line of an array. Raises the fault if the end of the object is uncertain.

        The end is certain if an object like the others follows, or if the array has no more objects.
        """
        while len(self._text) - self._at < _AHEAD and self._more(_READ):
            pass
        if not (self._in_array and self._text.startswith("{", self._at)):
            raise fault
        for match in _NEXT_OBJECT.finditer(self._text, self._at, self._at + _AHEAD):
            if self._is_next(match.end()):
                self._advance(match.end())
                return self._source.fault(f"{fault.reason}; this object is not read", *fault.where)
        rest = self._text[self._at :].rstrip()
        if len(rest) >= _AHEAD or "{" in rest[1:] or not _LAST_OBJECT.search(rest):
            raise fault
        self._advance(self._at + len(rest) - 1)
        return self._source.fault(f"{fault.reason}; this object is not read", *fault.where)

    def _is_next(self, at: int) -> bool:
        """Whether the object at a position is the next element of the array, and not a part of the malformed element.

        If an element has been read before, the object must have the same keys. If no element has been read, the object
        must have the same first key as the malformed element, or an object with the same keys must follow. If the
        object is malformed too, only its first key is compared.
        """
        own, other = _FIRST_KEY.match(self._text, self._at), _FIRST_KEY.match(self._text, at)
        is_alike = bool(own and other and own[1] == other[1])
        try:
            value, end = self._decoder.raw_decode(self._text, at)
        except (ValueError, RecursionError):
            return is_alike
        if self._keys or is_alike:
            return value.keys() == self._keys if self._keys else True
        try:
            following, _ = self._decoder.raw_decode(self._text, self._end_of(_BETWEEN, end))
        except (ValueError, RecursionError):
            return False
        return isinstance(following, dict) and following.keys() == value.keys()

    def _end_of(self, pattern: re.Pattern[str], at: int) -> int:
        match = pattern.match(self._text, at)
        return match.end() if match else at

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
            end = self._end_of(pattern, self._at)
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


def _may_be_incomplete(error: ValueError | RecursionError, size: int) -> bool:
    """Whether a value may be valid after more text is read. `size` is the number of characters read so far."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= size - _LONGEST_WORD


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

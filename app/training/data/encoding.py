"""Determines the encoding of a text file: the declared one, UTF-8, UTF-16, UTF-32 or, if plausible, cp1252."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from app.training.data.files import Source, unpacking
from app.training.failures import BadData

_BLOCK = 1 << 20
_SAMPLE = 1 << 12
_EXAMINED_BLOCKS = 64  # at most this many non-ASCII blocks are examined to decide whether cp1252 is plausible
_MARKS = (  # UTF-32 precedes UTF-16: the UTF-16-LE mark is a prefix of the UTF-32-LE mark
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ADVICE = "save the file as UTF-8, or set training.encoding (--encoding) to its encoding"
_OTHERS = (
    "cp1250 (Central Europe), cp1251 or koi8-r (Cyrillic), cp850 or cp437 (DOS), shift_jis, gb18030, big5, euc_kr or "
    "mac_roman"
)
_UTF8_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH = re.compile(rb"[\x80-\xff]")
_LETTER = re.compile(rb"[A-Za-z]")
_IN_WORD = re.compile(r"(?<=[a-z])[^\x00-\x7f](?=[a-z])")
_WORD = re.compile(r"[^\s,;|\"]*[^\x00-\x7f\s][^\s,;|\"]*")
_WORD_PUNCTUATION = frozenset("’‘´·\xad–—…")  # the non-letters that are plausible between two lower-case letters


@dataclass(slots=True)
class _Plausibility:
    """Statistics that show whether text that is not valid UTF-8 is likely to be cp1252."""

    sequences: int = 0  # well-formed UTF-8 sequences of several bytes
    stray: int = 0  # bytes above 0x7f outside of these sequences
    letters: int = 0  # ASCII letters in the examined blocks
    in_word: int = 0  # characters above 0x7f between two lower-case letters
    odd: list[str] = field(default_factory=list)  # the unlikely characters in words, with their neighbours
    words: dict[str, None] = field(default_factory=dict)  # examples of words with non-ASCII characters

    def add(self, block: bytes) -> None:
        """Add one block to the statistics."""
        self.sequences += len(_UTF8_SEQUENCE.findall(block))
        self.stray += len(_HIGH.findall(_UTF8_SEQUENCE.sub(b"", block)))
        self.letters += len(_LETTER.findall(block))
        text = block.decode("cp1252", "replace")
        for match in _IN_WORD.finditer(text):
            self.in_word += 1
            if not match[0].islower() and match[0] not in _WORD_PUNCTUATION:
                self.odd.append(text[max(0, match.start() - 3) : match.end() + 3])
        for match in _WORD.finditer(text):
            if len(self.words) >= 3:
                break
            self.words[match[0][:30]] = None

    @property
    def is_broken_utf8(self) -> bool:
        return self.sequences >= self.stray

    @property
    def is_cp1252(self) -> bool:
        """Whether cp1252 is plausible.

        Western European text has few non-ASCII characters, and almost all non-ASCII characters between lower-case
        letters are themselves lower-case letters or word punctuation.
        """
        few = self.stray <= 0.3 * (self.stray + self.letters)
        return few and len(self.odd) <= 0.05 * self.in_word


def settle_encoding(source: Source, declared: str | None = None, *, is_tolerant: bool = False) -> Source:
    """Determine the encoding of a file, and return the source with this encoding. Reads the whole file at least once.

    Raises BadData if no encoding is plausible, or if a byte cannot be decoded. If `is_tolerant` is true, bytes that
    cannot be decoded do not raise an error: `undecodable` of the returned source contains the reason, and
    `settled["undecodable"]` contains the error for the first of these bytes.
    """
    with unpacking(source), source.open() as file:
        start = file.read(_SAMPLE)
    if declared is not None:
        source = replace(source, encoding=declared)
        error = _first_error(source)
        if error is not None:
            reason = f"not valid {declared}, the encoding set in training.encoding (--encoding)"
            return _damaged(source, error, reason, is_tolerant)
        return source
    encoding = next((name for mark, name in _MARKS if start.startswith(mark)), None)
    marked, encoding = encoding is not None, encoding or _unmarked(source, start)
    source = replace(source, encoding=encoding)
    error = _first_error(source)
    if error is not None and encoding == "utf-8" and not marked:
        source, error = _legacy(source, error)
    if error is not None:
        source = _damaged(source, error, f"not valid {encoding.upper()}; {_ADVICE}", is_tolerant)
    if source.encoding.startswith(("utf-16", "utf-32")):
        source.remark("encoding", f"is read as {source.encoding[:6].upper()}")
    return source


def _damaged(source: Source, error: _DecodingError, reason: str, is_tolerant: bool) -> Source:
    """Return the source of a file in which some bytes cannot be decoded, or raise the error for the first of them."""
    fault = _fault(error, source, reason)
    if not is_tolerant:
        raise fault
    source.settled["undecodable"] = fault
    return replace(source, undecodable=reason)


@dataclass(frozen=True, slots=True)
class _DecodingError:
    """The first byte that cannot be decoded, and its position."""

    byte: int
    offset: int
    line: int
    column: int


def _fault(error: _DecodingError, source: Source, reason: str) -> BadData:
    """Return the error for a byte that cannot be decoded; `reason` explains why."""
    return source.fault(
        f"the byte 0x{error.byte:02x} at offset {error.offset} is {reason}",
        f"line {error.line}",
        f"column {error.column}",
    )


def _unmarked(source: Source, start: bytes) -> str:
    """Determine the encoding of a file without a byte order mark from the positions of its zero bytes.

    In most UTF-16 text, every other byte is zero. Text in UTF-8 or a single-byte encoding has no zero bytes.
    """
    half = max(1, len(start) // 2)
    even, odd = start[::2].count(0) / half, start[1::2].count(0) / half
    if odd > 0.4 and even < 0.05:
        return "utf-16-le"
    if even > 0.4 and odd < 0.05:
        return "utf-16-be"
    if even + odd > 0.2:
        raise source.fault("is not a text file: it contains many zero bytes")
    return "utf-8"


def _first_error(source: Source) -> _DecodingError | None:
    """Return the first byte that cannot be decoded with the file's encoding, or None if there is none."""
    decoder = codecs.getincrementaldecoder(source.encoding)()
    line, column, size = 1, 1, 0
    for block in _blocks(source):
        size += len(block)
        try:
            text = decoder.decode(block, not block)
        except UnicodeDecodeError as error:
            offset = size - len(error.object) + error.start
            before = error.object[: error.start].decode(source.encoding, "replace")
            byte = error.object[error.start]
        else:
            line, column = _advance(line, column, text)
            continue
        line, column = _advance(line, column, before)
        return _DecodingError(byte, offset, line, column)
    return None


def _advance(line: int, column: int, text: str) -> tuple[int, int]:
    text = text.lstrip("\ufeff") if (line, column) == (1, 1) else text
    end = text.rfind("\n")
    return line + text.count("\n"), column + len(text) if end < 0 else len(text) - end


def _blocks(source: Source) -> Iterator[bytes]:
    """Yield the content in blocks, followed by an empty block."""
    with unpacking(source), source.open() as file:
        while block := file.read(_BLOCK):
            yield block
        yield b""


def _legacy(source: Source, error: _DecodingError) -> tuple[Source, _DecodingError | None]:
    """Try cp1252 for a file that is not valid UTF-8. Returns the file and its first decoding error, if any.

    If the file looks like damaged UTF-8, returns the arguments unchanged. Raises BadData if cp1252 is not plausible.
    """
    plausibility = _Plausibility()
    examined = 0
    for block in _blocks(source):
        if not block.isascii() and examined < _EXAMINED_BLOCKS:
            plausibility.add(block)
            examined += 1
    if plausibility.is_broken_utf8:
        return source, error
    example = ", ".join(map(repr, plausibility.odd[:1] or plausibility.words))
    if not plausibility.is_cp1252:
        reason = (
            f"not valid UTF-8, and the text looks wrong as cp1252 ({example}); {_ADVICE}; the encoding may be {_OTHERS}"
        )
        raise _fault(error, source, reason)
    source = replace(source, encoding="cp1252")
    message = f"is not valid UTF-8; it is read as cp1252 (Western European), for example {example}"
    hint = "if the example looks wrong, set training.encoding (--encoding) to the encoding of the file"
    source.remark("encoding", f"{message}; {hint}", count=plausibility.stray, level="warn")
    return source, _first_error(source)

"""Messages between an API process and the child processes that run imported tokenizers: length-prefixed msgpack."""

from __future__ import annotations

from typing import IO, Any, Literal

import msgspec

HEADER = 4  # bytes of the length before each message


class Define(msgspec.Struct, tag=True, array_like=True):
    """Load a tokenizer under a key. `configs` are JSON objects. The answer is Defined or Refused."""

    key: str
    text: str
    configs: list[dict[str, Any]]


class Read(msgspec.Struct, tag=True, array_like=True):
    """Call a method of Tokenizer. The answer is Ids, Refused, or Undefined if the process has not loaded the tokenizer.

    `batch` reads each text, `pair` reads two texts as one sequence, and `within` cuts a text or pair to `size` tokens.
    """

    key: str
    method: Literal["batch", "pair", "within"]
    texts: list[str]
    special: bool = True
    size: int = 0
    side: str = "right"


class Defined(msgspec.Struct, tag=True, array_like=True):
    """The tokenizer has been loaded."""


class Undefined(msgspec.Struct, tag=True, array_like=True):
    """The process has not loaded the tokenizer, or has dropped it."""


class Ids(msgspec.Struct, tag=True, array_like=True):
    """The ids of each text."""

    sequences: list[list[int]]


class Refused(msgspec.Struct, tag=True, array_like=True):
    """An error caused by the tokenizer or the text. `checkpoint` is true if the tokenizer caused the error."""

    message: str
    code: str
    param: str | None
    checkpoint: bool


Answer = Defined | Undefined | Ids | Refused
_request = msgspec.msgpack.Decoder(Define | Read)
_answer = msgspec.msgpack.Decoder(Answer)


def encode(message: Define | Read | Answer) -> bytes:
    """Return the bytes to write. Raises UnicodeEncodeError for a text with a lone surrogate."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(HEADER, "little") + body


def read_request(stream: IO[bytes]) -> Define | Read | None:
    """Wait for the next request. Returns None at the end of the stream."""
    body = _body(stream)
    return None if body is None else _request.decode(body)


def read_answer(stream: IO[bytes]) -> Answer | None:
    """Wait for the answer. Returns None if the process has ended."""
    body = _body(stream)
    return None if body is None else _answer.decode(body)


def _body(stream: IO[bytes]) -> bytes | None:
    header = stream.read(HEADER)
    if len(header) < HEADER:
        return None
    size = int.from_bytes(header, "little")
    body = stream.read(size)
    return body if len(body) == size else None

"""Decodes and encodes Open Inference Protocol tensors: numbers or texts, as JSON or as little-endian bytes."""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

from app.errors import InvalidRequest

# Data type -> format of one number, as in `struct` and `array`.
FORMATS = {
    "BOOL": "?", "INT8": "b", "UINT8": "B", "INT16": "h", "UINT16": "H", "INT32": "i", "UINT32": "I", "INT64": "q",
    "UINT64": "Q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip
BYTES = "BYTES"
IN_JSON: dict[str, set[type]] = {  # data type -> Python types of its elements in JSON, if not int
    "BYTES": {str}, "BOOL": {bool}, "FP32": {int, float}, "FP64": {int, float},
}  # fmt: skip
DEPTH_LIMIT = 8  # the maximum depth of nested lists
DATATYPES = (BYTES, *FORMATS)
LENGTH = struct.Struct("<I")


def numbers(data: bytes, datatype: str, count: int, name: str) -> list[float]:
    """Decode `count` numbers. Raises InvalidRequest if the data has a different size."""
    size = struct.calcsize(f"<{FORMATS[datatype]}")
    if len(data) != count * size:
        raise InvalidRequest(
            f"input {name!a} has {len(data)} bytes, but its shape requires {count * size} bytes of {datatype}"
        )
    return list(struct.unpack(f"<{count}{FORMATS[datatype]}", data))


def texts(data: bytes, count: int, name: str) -> list[str]:
    """Decode `count` texts, each preceded by its length in bytes. Raises InvalidRequest if the data is malformed."""
    decoded, place = [], 0
    for number in range(count):
        if place + LENGTH.size > len(data):
            raise InvalidRequest(f"input {name!a} ends before element {number}")
        [length] = LENGTH.unpack_from(data, place)
        place += LENGTH.size + length
        if place > len(data):
            raise InvalidRequest(f"input {name!a} ends inside element {number}")
        decoded.append(text(data[place - length : place], f"element {number} of input {name!a}"))
    if place != len(data):
        raise InvalidRequest(f"input {name!a} has {len(data) - place} more bytes than its shape requires")
    return decoded


def text(data: bytes, place: str) -> str:
    """Decode a text. Raises InvalidRequest if the text is not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"{place} is not UTF-8 text") from None


def check_elements(elements: Sequence[Any], datatype: str, name: str) -> None:
    """Raise InvalidRequest unless the elements of a tensor, decoded from JSON, have the tensor's data type.

    The protocol does not allow FP16 elements in JSON, so they are rejected.
    """
    if datatype == "FP16":
        raise InvalidRequest(
            f"input {name!a} has the data type FP16, which can be sent only as bytes; send FP32 in JSON, or bytes with "
            "binary_data_size",
            param="inputs",
        )
    kinds = set(map(type, elements))
    allowed = IN_JSON.get(datatype, {int})
    if not kinds <= allowed or (allowed == {int} and elements and not _fit(elements, datatype)):
        raise InvalidRequest(f"input {name!a} has an element that is not {datatype}", param="inputs")


def _fit(elements: Sequence[int], datatype: str) -> bool:
    """Whether all integers are in the range of a data type."""
    bits = 8 * struct.calcsize(FORMATS[datatype])
    low, high = (0, 2**bits - 1) if datatype.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return low <= min(elements) and max(elements) <= high


def flat(value: Any, depth: int = DEPTH_LIMIT) -> list[Any]:
    """The elements of nested lists in row-major order.

    Raises InvalidRequest if lists are nested deeper than `depth`.
    """
    if not isinstance(value, list):
        return [value]
    if not any(isinstance(entry, list) for entry in value):
        return value
    if depth == 1:
        raise InvalidRequest(f"data may have at most {DEPTH_LIMIT} levels of nested lists", param="inputs")
    return [element for entry in value for element in flat(entry, depth - 1)]


def size_of(shape: Sequence[int]) -> int:
    """The number of elements in a tensor."""
    return math.prod(shape)


def pack(values: Sequence[Any], datatype: str) -> bytes:
    """Encode the elements of a tensor as bytes."""
    if datatype == BYTES:
        return pack_texts(values)
    packed = array(FORMATS[datatype], values)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def pack_texts(values: Iterable[str]) -> bytes:
    """Encode texts as BYTES: each text is preceded by its length in bytes."""
    encoded = [value.encode() for value in values]
    return b"".join(LENGTH.pack(len(value)) + value for value in encoded)

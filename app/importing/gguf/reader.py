"""Reads the header of a GGUF file: its metadata, and the location of each tensor. Every file is treated as untrusted.

For the format, see https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Every length is checked against the file
size before anything of that length is read.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.importing.gguf.blocks import KINDS, BlockKind
from app.importing.pytorch.tensors import ForeignFileInvalid

MAGIC, VERSIONS = b"GGUF", (2, 3)
NUMBERS: Mapping[int, str] = {  # the number of a value's type -> its type in NumPy
    0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "<u1", 10: "<u8", 11: "<i8", 12: "<f8",
}  # fmt: skip
BOOLEAN, STRING, ARRAY = 7, 8, 9
COUNT_LIMIT = 2**16  # maximum number of tensors, and of metadata entries
NAME_LIMIT = 1024  # maximum length of a name, in bytes
DIMENSIONS_LIMIT = 4
ALIGNMENT = "general.alignment"


@dataclass(frozen=True, slots=True)
class BlockTensor:
    """A tensor stored as blocks of numbers: its shape, slowest dimension first, and its bytes in the file."""

    kind: BlockKind
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class GgufFile:
    """The metadata and the tensors of a file. The bytes of the tensors are memory-mapped, not read."""

    metadata: dict[str, Any]
    tensors: dict[str, BlockTensor]
    data: NDArray[np.uint8]


def read_gguf(path: Path) -> GgufFile:
    """Read the header of a file. Raises ForeignFileInvalid if it is damaged or contains an unknown kind of tensor."""
    if path.stat().st_size < len(MAGIC) + 20:
        raise ForeignFileInvalid(f"{path.name} is too short to be a GGUF file")
    data = np.memmap(path, np.uint8, mode="r")
    cursor = _Cursor(data)
    if cursor.take(4).tobytes() != MAGIC or cursor.number("<u4") not in VERSIONS:
        raise ForeignFileInvalid(f"{path.name} is not a little-endian GGUF file of version 2 or 3")
    tensors, entries = cursor.count("<u8"), cursor.count("<u8")
    metadata: dict[str, Any] = {}
    for _ in range(entries):
        name = cursor.string(NAME_LIMIT)
        if name in metadata:
            raise ForeignFileInvalid(f"the metadata key {name[:80]!r} occurs twice in the file")
        metadata[name] = cursor.value(int(cursor.number("<u4")))
    infos = [_read_info(cursor) for _ in range(tensors)]
    return GgufFile(metadata, _place(infos, cursor.position, metadata, len(data)), data)


@dataclass(frozen=True, slots=True)
class _Info:
    name: str
    shape: tuple[int, ...]
    kind: BlockKind
    offset: int


class _Cursor:
    """Reads values one after another."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self._data, self.position = data, 0

    def take(self, size: int) -> NDArray[np.uint8]:
        """Return the next `size` bytes. Raises ForeignFileInvalid if the file ends before them."""
        if size > len(self._data) - self.position:
            raise ForeignFileInvalid(
                f"the file ends within the header: {size} bytes are expected at byte {self.position}"
            )
        self.position += size
        return self._data[self.position - size : self.position]

    def number(self, kind: str) -> Any:
        return self.take(int(kind[2])).view(kind)[0].item()

    def count(self, kind: str) -> int:
        count = int(self.number(kind))
        if count > COUNT_LIMIT:
            raise ForeignFileInvalid(f"the header declares {count} entries; the limit is {COUNT_LIMIT}")
        return count

    def string(self, limit: int | None = None) -> str:
        size = int(self.number("<u8"))
        if limit is not None and size > limit:
            raise ForeignFileInvalid(f"a name in the header has {size} bytes; the limit is {limit}")
        return self.take(size).tobytes().decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """Read a metadata value: a number, a string or a list."""
        if kind in NUMBERS:
            value = self.number(NUMBERS[kind])
            return bool(value) if kind == BOOLEAN else value
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            raise ForeignFileInvalid(f"the metadata has a value of the unknown type {kind}")
        inner, count = int(self.number("<u4")), int(self.number("<u8"))
        if inner in NUMBERS:
            size = int(NUMBERS[inner][2])
            return self.take(count * size).view(NUMBERS[inner]).tolist()
        if inner != STRING:
            raise ForeignFileInvalid(f"the metadata has a list of values of the type {inner}, which is not supported")
        if count * 8 > len(self._data) - self.position:
            raise ForeignFileInvalid(f"the header declares a list of {count} strings, but the file is shorter")
        return [self.string() for _ in range(count)]


def _read_info(cursor: _Cursor) -> _Info:
    name = cursor.string(NAME_LIMIT)
    dimensions = int(cursor.number("<u4"))
    if not 1 <= dimensions <= DIMENSIONS_LIMIT:
        raise ForeignFileInvalid(
            f"the tensor {name[:80]!r} has {dimensions} dimensions; the limit is {DIMENSIONS_LIMIT}"
        )
    fastest_first = struct.unpack(f"<{dimensions}Q", cursor.take(8 * dimensions).tobytes())
    number = int(cursor.number("<u4"))
    if number not in KINDS:
        names = ", ".join(kind.name for kind in KINDS.values())
        raise ForeignFileInvalid(f"the tensor {name[:80]!r} has the type {number}; the supported types are {names}")
    return _Info(name, tuple(reversed(fastest_first)), KINDS[number], int(cursor.number("<u8")))


def _place(infos: list[_Info], header: int, metadata: Mapping[str, Any], size: int) -> dict[str, BlockTensor]:
    """Check that the tensors are within the file and do not overlap, and return them by name."""
    alignment = metadata.get(ALIGNMENT, 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 2**16:
        raise ForeignFileInvalid(f"{ALIGNMENT} must be from 1 to {2**16}")
    start = -(-header // alignment) * alignment
    tensors: dict[str, BlockTensor] = {}
    last = start
    for info in sorted(infos, key=lambda info: info.offset):
        blocks, rest = divmod(math.prod(info.shape), info.kind.numbers)
        begin = start + info.offset
        end = begin + blocks * info.kind.size
        inside = blocks and last <= begin and end <= size
        if rest or info.shape[-1] % info.kind.numbers or not inside or info.name in tensors:
            raise ForeignFileInvalid(
                f"the tensor {info.name[:80]!r} occurs twice, overlaps another, does not consist of whole blocks, or "
                "extends beyond the file"
            )
        tensors[info.name] = BlockTensor(info.kind, info.shape, begin, end)
        last = end
    return tensors

"""Writes the messages of an ONNX file in the protocol buffers wire format, without using the `onnx` package.

The numbers of the fields are those of onnx.proto, which never change. Reference: onnx.ai/onnx/repo-docs/IR.html
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

IR_VERSION, OPSET = 8, 17
FLOAT, INT32, INT64, BOOL, DOUBLE = 1, 6, 7, 9, 11  # TensorProto.DataType
TYPES: Mapping[str, int] = {"float32": FLOAT, "int32": INT32, "int64": INT64, "bool": BOOL, "float64": DOUBLE}
Attribute = int | float | str | Sequence[int] | Sequence[str]


@dataclass(frozen=True, slots=True)
class Value:
    """An input or an output of the graph. A dimension is a number or a name."""

    name: str
    type: int
    shape: tuple[int | str, ...]


@dataclass(slots=True)
class GraphParts:
    """The content of a graph. `nodes` are encoded messages in the order of the computation."""

    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    nodes: list[bytes] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)


def node(operator: str, inputs: Iterable[str], outputs: Iterable[str], attributes: Mapping[str, Attribute]) -> bytes:
    """Encode one operation of a graph. An empty name stands for an input that is left out."""
    message = b"".join(_text(1, name) for name in inputs) + b"".join(_text(2, name) for name in outputs)
    message += _text(4, operator)
    return message + b"".join(_bytes(5, _attribute(name, value)) for name, value in attributes.items())


def model(graph: GraphParts, metadata: Mapping[str, str], producer: str) -> bytes:
    """Encode a whole file."""
    parts = [_bytes(1, each) for each in graph.nodes]
    parts.append(_text(2, "network"))
    parts += [_bytes(5, _tensor(name, value)) for name, value in graph.constants.items()]
    parts += [_bytes(11, _value(each)) for each in graph.inputs]
    parts += [_bytes(12, _value(each)) for each in graph.outputs]
    opset = _text(1, "") + _number(2, OPSET)
    message = _number(1, IR_VERSION) + _text(2, producer) + _bytes(7, b"".join(parts)) + _bytes(8, opset)
    return message + b"".join(_bytes(14, _text(1, key) + _text(2, value)) for key, value in metadata.items())


def _attribute(name: str, value: Attribute) -> bytes:
    message = _text(1, name)
    if isinstance(value, float):
        return message + _key(2, 5) + struct.pack("<f", value) + _number(20, 1)
    if isinstance(value, int):
        return message + _number(3, value) + _number(20, 2)
    if isinstance(value, str):
        return message + _text(4, value) + _number(20, 3)
    if value and isinstance(value[0], str):
        return message + b"".join(_text(9, str(each)) for each in value) + _number(20, 8)
    return message + b"".join(_number(8, int(each)) for each in value) + _number(20, 7)


def _tensor(name: str, value: NDArray[Any]) -> bytes:
    dimensions = b"".join(_number(1, size) for size in value.shape)
    data = np.ascontiguousarray(value).tobytes()  # little-endian, as on all processors that the service supports
    return dimensions + _number(2, TYPES[value.dtype.name]) + _text(8, name) + _bytes(9, data)


def _value(value: Value) -> bytes:
    sizes = [_number(1, size) if isinstance(size, int) else _text(2, size) for size in value.shape]
    shape = b"".join(_bytes(1, size) for size in sizes)
    return _text(1, value.name) + _bytes(2, _bytes(1, _number(1, value.type) + _bytes(2, shape)))


def _key(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _number(number: int, value: int) -> bytes:
    return _key(number, 0) + _varint(value % 2**64)


def _bytes(number: int, value: bytes) -> bytes:
    return _key(number, 2) + _varint(len(value)) + value


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)

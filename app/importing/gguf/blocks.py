"""Converts blocks of quantised numbers to float32.

Except in the floating-point kinds, a block has one or more scales, and an integer of a few bits for each number. The
layouts are defined by ggml (https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.importing.pytorch.tensors import Array, flat, to_float32

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class BlockKind:
    """A kind of block, which stores `numbers` numbers in `size` bytes.

    `read` converts blocks (N, size) to (N, numbers).
    """

    name: str
    numbers: int
    size: int
    read: Callable[[Bytes], NDArray[Any]]


def dequantized(data: Bytes, kind: BlockKind, shape: tuple[int, ...]) -> Array:
    """Return the numbers that a tensor's bytes encode, in float32."""
    with np.errstate(invalid="ignore", over="ignore"):  # `check_finite` reports the values that are not finite
        return to_float32(kind.read(np.ascontiguousarray(data).reshape(-1, kind.size)).reshape(shape))


def _half(blocks_N2: Bytes) -> Array:
    """Return the float16 stored in two bytes of each block, with shape (N, 1)."""
    return np.ascontiguousarray(blocks_N2).view("<f2").astype(np.float32)


def _nibbles(bytes_NB: Bytes) -> NDArray[np.uint8]:
    """Return the low four bits of each byte, followed by the high four bits of each byte. The shape is (N, 2 B)."""
    return np.concatenate((bytes_NB & 15, bytes_NB >> 4), axis=1)


def _fifth_bits(bits_N4: Bytes) -> NDArray[np.uint8]:
    """Return the fifth bits of 32 numbers, each as 0 or 16. The shape is (N, 32)."""
    bits: Bytes = np.unpackbits(np.ascontiguousarray(bits_N4), axis=1, bitorder="little") * np.uint8(16)
    return bits


def _float(name: str) -> Callable[[Bytes], NDArray[Any]]:
    return lambda blocks: flat(blocks.tobytes(), name)


def _q8_0(blocks: Bytes) -> NDArray[Any]:
    return _half(blocks[:, :2]) * np.ascontiguousarray(blocks[:, 2:]).view(np.int8)


def _q4_0(blocks: Bytes) -> NDArray[Any]:
    return _half(blocks[:, :2]) * (_nibbles(blocks[:, 2:]).astype(np.float32) - 8)


def _q4_1(blocks: Bytes) -> NDArray[Any]:
    return _half(blocks[:, :2]) * _nibbles(blocks[:, 4:]) + _half(blocks[:, 2:4])


def _q5_0(blocks: Bytes) -> NDArray[Any]:
    numbers = _nibbles(blocks[:, 6:]) | _fifth_bits(blocks[:, 2:6])
    return _half(blocks[:, :2]) * (numbers.astype(np.float32) - 16)


def _q5_1(blocks: Bytes) -> NDArray[Any]:
    numbers = _nibbles(blocks[:, 8:]) | _fifth_bits(blocks[:, 4:8])
    return _half(blocks[:, :2]) * numbers + _half(blocks[:, 2:4])


def _q4_k(blocks: Bytes) -> NDArray[Any]:
    """Decode eight parts of 32 numbers, each with a six-bit scale and a six-bit minimum, packed into twelve bytes."""
    packed = blocks[:, 4:16]
    low, high, mixed = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate((low & 63, (mixed & 15) | (low >> 6 << 4)), axis=1)
    minima = np.concatenate((high & 63, (mixed >> 4) | (high >> 6 << 4)), axis=1)
    # Each group of 32 bytes contains the low halves of one part and the high halves of the next part.
    numbers = np.stack([_nibbles(blocks[:, at : at + 32]) for at in range(16, 144, 32)], axis=1).reshape(-1, 8, 32)
    factors, offsets = _half(blocks[:, :2]) * scales, _half(blocks[:, 2:4]) * minima
    return factors[:, :, None] * numbers - offsets[:, :, None]


def _q6_k(blocks: Bytes) -> NDArray[Any]:
    """Decode sixteen parts of 16 numbers. Four bits of each number are in `low`, and two are in `high`."""
    low, high = blocks[:, :128].reshape(-1, 2, 64), blocks[:, 128:192].reshape(-1, 2, 32)
    scales, scale = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8), _half(blocks[:, 208:210])
    halves = [
        np.concatenate((low & 15, low >> 4), axis=2),  # (N, 2, 128)
        np.concatenate([(high >> shift & 3) << 4 for shift in (0, 2, 4, 6)], axis=2),
    ]
    numbers = (halves[0] | halves[1]).astype(np.float32).reshape(-1, 16, 16) - 32
    values: NDArray[Any] = (scale * scales)[:, :, None] * numbers
    return values


KINDS: Mapping[int, BlockKind] = {  # the number of a tensor's type in a file -> the kind of its blocks
    0: BlockKind("F32", 1, 4, _float("F32")),
    1: BlockKind("F16", 1, 2, _float("F16")),
    2: BlockKind("Q4_0", 32, 18, _q4_0),
    3: BlockKind("Q4_1", 32, 20, _q4_1),
    6: BlockKind("Q5_0", 32, 22, _q5_0),
    7: BlockKind("Q5_1", 32, 24, _q5_1),
    8: BlockKind("Q8_0", 32, 34, _q8_0),
    12: BlockKind("Q4_K", 256, 144, _q4_k),
    14: BlockKind("Q6_K", 256, 210, _q6_k),
    30: BlockKind("BF16", 1, 2, _float("BF16")),
}

"""Converts the bytes of stored tensors to NumPy arrays in float32."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidRequest

Array = NDArray[np.float32]
Tensors = dict[str, Array]
BF16 = "BF16"
TYPES: Mapping[str, str] = {  # data type in safetensors -> little-endian type of NumPy
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    BF16: "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|u1",
}


class ForeignFileInvalid(InvalidRequest):
    """A file to import is damaged, has an unsupported format, or contains more than plain data."""

    code = "invalid_foreign_file"


def check_finite(tensors: Tensors) -> None:
    """Raise ForeignFileInvalid if a number is NaN or infinite. The message lists the affected tensors."""
    bad = [
        f"  {name} {tuple(tensor.shape)}: {int(np.isnan(tensor).sum())} NaN, {int(np.isinf(tensor).sum())} infinite"
        for name, tensor in tensors.items()
        if not np.isfinite(tensor).all()
    ]
    if bad:
        raise ForeignFileInvalid(
            "these weights are not finite numbers, so the network cannot compute results; the training run that saved "
            "them may have diverged:\n" + "\n".join(bad[:30])
        )


def itemsize(dtype: str) -> int:
    """Return the size of a number of type `dtype`, in bytes."""
    return np.dtype(TYPES[dtype]).itemsize


def flat(data: bytes, dtype: str) -> NDArray[Any]:
    """Interpret bytes as a flat array. bfloat16 becomes float32: its 16 bits are the upper half of a float32 number."""
    numbers = np.frombuffer(data, dtype=TYPES[dtype])
    return (numbers.astype("<u4") << 16).view("<f4") if dtype == BF16 else numbers


def to_float32(numbers: NDArray[Any]) -> Array:
    """Return a copy in float32. A value beyond the range of float32 becomes infinite, which `check_finite` rejects."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array(numbers, dtype=np.float32, order="C")


def view(numbers: NDArray[Any], offset: int, shape: tuple[int, ...], strides: tuple[int, ...], name: str) -> Array:
    """Return a float32 copy of a view of the storage `numbers`. The offset and the strides are in elements.

    Raises ForeignFileInvalid if the view extends beyond the storage or has more elements than the storage. Without the
    second check, a small file could describe a tensor of any size by using strides of 0.
    """
    valid = len(shape) == len(strides) and all(n >= 0 for n in (offset, *shape, *strides))
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=False))
    count = math.prod(shape)
    if not valid or count > len(numbers) or (count and last >= len(numbers)):
        raise ForeignFileInvalid(f"{name}: the tensor extends beyond its storage")
    if not count:
        return np.zeros(shape, dtype=np.float32)
    steps = tuple(step * numbers.itemsize if n > 1 else 0 for n, step in zip(shape, strides, strict=True))
    strided = np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps, writeable=False)
    return to_float32(strided)

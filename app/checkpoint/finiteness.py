"""Checks that all weights in a safetensors file are finite, and finds the largest ones. Uses bounded memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

from app.checkpoint.weights import SIZES, TensorEntry, read_header
from app.errors import CheckpointInvalid
from app.wording import quantity

CHUNK = 2**22  # bytes read at a time; a multiple of the size of every dtype, and small enough for the CPU's cache
SHOWN = 10  # maximum number of tensors in a message
NAME_SHOWN = 80
# The bits of the exponent of each dtype. A number is NaN or infinite if and only if all of these bits are set.
EXPONENTS = {"F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80), "F32": ("<u4", 0x7F800000)}
KINDS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}  # the dtypes of NumPy


def check_finite(path: Path) -> None:
    """Raise CheckpointInvalid if a weight is NaN or infinite, or becomes infinite in float32.

    The message lists the affected tensors.
    """
    entries = read_header(path)
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        bad = []
        for name, entry in sorted(entries.items(), key=lambda item: item[1].begin):
            file.seek(start + entry.begin)
            if count := _count_not_finite(file, entry):
                bad.append(f"{name[:NAME_SHOWN]!r} {entry.shape}: {count:,} of {entry.elements:,}")
    if bad:
        more = [f"and {quantity(len(bad) - SHOWN, 'more tensor')}"] if len(bad) > SHOWN else []
        raise CheckpointInvalid(
            f"{path.name} contains weights that are NaN or infinite, so the network cannot compute results; the "
            "training run may have diverged: save an earlier checkpoint. The tensors are "
            f"{'; '.join([*bad[:SHOWN], *more])}"
        )


def largest(path: Path, names: Collection[str]) -> dict[str, float]:
    """Return the largest absolute value in each of the tensors `names`. Their values must be finite floating-point
    numbers.
    """
    entries = read_header(path)
    with path.open("rb") as file:
        start, values = 8 + int.from_bytes(file.read(8), "little"), {}
        for name in sorted(names, key=lambda name: entries[name].begin):
            file.seek(start + entries[name].begin)
            pieces = _read_pieces(file, entries[name])
            values[name] = max((_largest_in_piece(piece, entries[name].dtype) for piece in pieces), default=0.0)
    return values


def _count_not_finite(file: IO[bytes], entry: TensorEntry) -> int:
    return sum(_count_in_piece(piece, entry.dtype) for piece in _read_pieces(file, entry))


def _read_pieces(file: IO[bytes], entry: TensorEntry) -> Iterator[bytes]:
    left = entry.elements * SIZES[entry.dtype]
    while left and (piece := file.read(min(left, CHUNK))):
        left -= len(piece)
        yield piece[: len(piece) - len(piece) % SIZES[entry.dtype]]


def _count_in_piece(piece: bytes, dtype: str) -> int:
    import numpy as np  # imported here, so that programs that do not check weights do not load it

    if dtype == "F64":  # loading converts these weights to float32, in which the largest become infinite
        with np.errstate(over="ignore", invalid="ignore"):
            return int((~np.isfinite(np.frombuffer(piece, "<f8").astype(np.float32))).sum())
    if dtype not in EXPONENTS:
        return 0  # integers are always finite
    kind, mask = EXPONENTS[dtype]
    masked = np.frombuffer(piece, kind) & np.array(mask, kind)
    return int((masked == mask).sum()) if masked.size and masked.max() == mask else 0


def _largest_in_piece(piece: bytes, dtype: str) -> float:
    import numpy as np

    values: Any
    if dtype == "BF16":  # a bfloat16 consists of the upper 16 bits of a float32
        values = (np.frombuffer(piece, "<u2").astype("<u4") << 16).view("<f4")
    else:
        values = np.frombuffer(piece, KINDS[dtype])
    return float(np.abs(values).max(initial=0))

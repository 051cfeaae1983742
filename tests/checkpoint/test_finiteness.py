"""Weights that are not finite numbers are rejected, regardless of their dtype."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from app.checkpoint import finiteness
from app.checkpoint.finiteness import check_finite, largest
from app.errors import CheckpointInvalid

KINDS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


def encode(values: list[float], dtype: str) -> bytes:
    if dtype == "BF16":  # the upper half of a float32
        return b"".join(struct.pack("<f", value)[2:] for value in values)
    return np.array(values, KINDS[dtype]).tobytes()


def write(path: Path, tensors: dict[str, list[float]], dtype: str) -> Path:
    header, data = {}, b""
    for name, values in tensors.items():
        raw = encode(values, dtype)
        header[name] = {"dtype": dtype, "shape": [len(values)], "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_numbers_that_are_not_finite_are_named(tmp_path: Path, dtype: str) -> None:
    good = {"body": [0.0, -1.5, 60000.0], "head": [1e-7, -2.0], "empty": []}
    check_finite(write(tmp_path / "w", good, dtype))
    inf, nan = float("inf"), float("nan")
    for bad in (inf, -inf, nan):
        with pytest.raises(CheckpointInvalid, match=r"'head' \(2,\): 1 of 2$"):
            check_finite(write(tmp_path / "w", good | {"head": [bad, 1.0]}, dtype))
    many = {f"t{n:02}": [nan] for n in range(12)}
    with pytest.raises(CheckpointInvalid, match=r"'t09' \(1,\): 1 of 1; and 2 more tensors$"):
        check_finite(write(tmp_path / "w", many, dtype))


def test_a_double_beyond_the_range_of_a_float_is_not_finite_when_it_is_loaded(tmp_path: Path) -> None:
    check_finite(write(tmp_path / "w", {"a": [3.4e38, -3.4e38]}, "F64"))
    with pytest.raises(CheckpointInvalid, match=r"'a' \(2,\): 2 of 2"):
        check_finite(write(tmp_path / "w", {"a": [3.5e38, -1e300]}, "F64"))


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_the_largest_number_of_each_tensor_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    monkeypatch.setattr(finiteness, "CHUNK", 16)  # bytes
    path = write(tmp_path / "w", {"a": [1.0] * 9 + [-2.5] + [1.0] * 9, "b": [7.0], "empty": []}, dtype)
    assert largest(path, ["empty", "a"]) == {"a": 2.5, "empty": 0.0}


@pytest.mark.parametrize("place", [0, 15, 16, 40])
def test_every_piece_of_a_large_tensor_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    monkeypatch.setattr(finiteness, "CHUNK", 64)  # bytes
    values = [1.0] * 41
    path = write(tmp_path / "w", {"a": values, "b": values}, "F32")
    check_finite(path)
    values[place] = float("nan")
    with pytest.raises(CheckpointInvalid, match="'b'"):
        check_finite(write(tmp_path / "w", {"a": [1.0] * 41, "b": values}, "F32"))

"""Invalid headers of GGUF files are rejected before any tensor is read or any memory is allocated."""

from __future__ import annotations

import random
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.importing.gguf.blocks import dequantized
from app.importing.gguf.reader import read_gguf
from app.importing.pytorch.tensors import ForeignFileInvalid
from tests.importing.gguf.files import header, text, write


def test_metadata_and_tensors(tmp_path: Path) -> None:
    values: dict[str, Any] = {"a": 3, "b": 0.5, "c": True, "d": "é", "e": ["x", "yz"], "f": [1, -2]}
    file = read_gguf(write(tmp_path / "a.gguf", values, {"one": np.arange(6.0).reshape(2, 3), "two": np.ones(5)}))
    assert file.metadata == values
    assert {name: tensor.shape for name, tensor in file.tensors.items()} == {"one": (2, 3), "two": (5,)}
    one = file.tensors["one"]
    np.testing.assert_array_equal(
        dequantized(file.data[one.begin : one.end], one.kind, one.shape), np.arange(6.0).reshape(2, 3)
    )


@pytest.mark.parametrize(
    ("infos", "message"),
    [
        ([("a", (2**40,), 0, 0)], "extends beyond the file"),
        ([("a", (2**62, 8), 0, 0)], "extends beyond the file"),
        ([("a", (4,), 0, 2**63)], "extends beyond the file"),
        ([("a", (4,), 0, 0), ("b", (4,), 0, 8)], "overlaps"),
        ([("a", (4,), 0, 0), ("a", (4,), 0, 16)], "overlaps"),
        ([("a", (4,), 2, 0)], "overlaps"),
        ([("a", (4,), 99, 0)], "type 99"),
        ([("a", (1, 1, 1, 1, 4), 0, 0)], "5 dimensions"),
    ],
)
def test_false_tensors(infos: list[tuple[str, tuple[int, ...], int, int]], message: str, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(header({}, infos) + bytes(64))
    with pytest.raises(ForeignFileInvalid, match=message):
        read_gguf(tmp_path / "a.gguf")


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        (struct.pack("<IQQ", 3, 2**60, 0), "limit"),
        (struct.pack("<IQQ", 3, 0, 2**60), "limit"),
        (struct.pack("<IQQ", 9, 0, 0), "version 2 or 3"),
        (struct.pack("<IQQQ", 3, 0, 1, 2**63), "bytes"),
        (struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IQ", 8, 2**62), "ends within the header"),
        (struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 4, 2**62), "ends within the header"),
        (struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 8, 2**62), "list of"),
        (struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<IIQ", 9, 9, 1), "not supported"),
        (struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<I", 77), "unknown type 77"),
        (struct.pack("<IQQ", 3, 0, 2) + 2 * (text("a") + struct.pack("<II", 4, 1)), "twice"),
        (struct.pack("<IQQ", 3, 0, 1) + text("general.alignment") + struct.pack("<II", 4, 0), "alignment"),
    ],
)
def test_false_metadata(rest: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + rest + bytes(16))
    with pytest.raises(ForeignFileInvalid, match=message):
        read_gguf(tmp_path / "a.gguf")


def test_mutated_headers_never_allocate_more_than_the_file(tmp_path: Path) -> None:
    values = {"general.alignment": 32, "b": 0.5, "c": ["x", "yz"] * 8, "d": [1, 2, 3], "e": "text"}
    tensors = {f"tensor.{number}": np.ones((2, 4)) for number in range(8)}
    content = write(tmp_path / "a.gguf", values, tensors).read_bytes()
    path, chance = tmp_path / "mutated.gguf", random.Random(3)
    tracemalloc.start()
    for _ in range(2_000):
        changed = bytearray(content[: chance.choice((len(content), len(content), chance.randrange(len(content))))])
        for _ in range(chance.choice((1, 1, 2, 8))):
            changed[chance.randrange(min(len(changed), chance.choice((24, 600))) or 1)] = chance.randrange(256)
        path.write_bytes(changed)
        try:
            read_gguf(path)
        except ForeignFileInvalid:
            continue
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20 + 8 * len(content)

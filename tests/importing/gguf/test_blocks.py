"""Blocks of every kind are decoded to the same numbers as by the package `gguf`."""

from __future__ import annotations

import numpy as np
import pytest

from app.importing.gguf.blocks import KINDS, BlockKind, dequantized
from tests.importing.gguf.files import BLOCKS

QUANTIZED = [kind for kind in KINDS.values() if kind.numbers > 1]


@pytest.mark.parametrize("kind", QUANTIZED, ids=lambda kind: kind.name)
def test_quantized_blocks(kind: BlockKind) -> None:
    with np.load(BLOCKS) as stored:
        numbers = dequantized(stored[kind.name], kind, (3, kind.numbers))
        np.testing.assert_array_equal(numbers, stored[f"{kind.name}_numbers"])


def test_floating_point_numbers() -> None:
    kinds = {kind.name: kind for kind in KINDS.values()}
    values = np.array([[1.5, -2.0], [0.0, 3.25]], np.float32)
    for name, stored in (("F32", values), ("F16", values.astype("<f2")), ("BF16", values.view("<u2")[:, 1::2])):
        data = np.frombuffer(np.ascontiguousarray(stored).tobytes(), np.uint8)
        np.testing.assert_array_equal(dequantized(data, kinds[name], (2, 2)), values)

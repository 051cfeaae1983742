"""SEC-04: a header with a hundred thousand tensors is rejected before its entries are checked."""

from __future__ import annotations

import json
import time

import pytest

from app.checkpoint.weights import TENSORS_LIMIT, parse_header
from app.errors import CheckpointInvalid

ENTRY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
SECONDS = 10  # of processor time; the entries alone would take longer than the JSON


def test_a_header_of_many_tensors_is_refused() -> None:
    raw = json.dumps({str(number): ENTRY for number in range(100_000)}).encode()
    began = time.process_time()
    with pytest.raises(CheckpointInvalid, match=f"the limit is {TENSORS_LIMIT}"):
        parse_header(raw, 0)
    assert time.process_time() - began < SECONDS


def test_as_many_tensors_as_allowed_are_accepted() -> None:
    raw = json.dumps({str(number): ENTRY for number in range(TENSORS_LIMIT)}).encode()
    assert len(parse_header(raw, 0)) == TENSORS_LIMIT

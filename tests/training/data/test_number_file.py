"""Arrays are written to disk and mapped into memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.training.data.number_file import NumberFile


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(-9, 9), max_size=8), max_size=30), st.integers(1, 40))
def test_rows_are_returned_in_order(rows: list[list[int]], buffer: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.training.data.number_file._BUFFER", buffer)
        with tempfile.TemporaryDirectory() as folder:
            file = NumberFile(Path(folder) / "numbers", np.int32)
            for row in rows:
                file.append(row)
            assert file.close().tolist() == [n for row in rows for n in row] == file.close().tolist()

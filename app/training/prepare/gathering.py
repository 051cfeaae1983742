"""The tokens of one split as they come: on disk, and only their ends in memory. Knows ids; knows no text."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.data.number_file import NumberFile
from app.training.prepare.dataset import Rows, Stream, file_of


class GatheredRows:
    def __init__(self, aside: Path, part: str) -> None:
        self._flat = NumberFile(file_of(aside, part, "flat"), np.int32)
        self._learned = NumberFile(file_of(aside, part, "learned"), np.uint8)
        self._ends = array("q", [0])
        self.characters = 0

    def add(self, ids: Sequence[int], learned: Sequence[int] = ()) -> None:
        """One row; `learned` says for each token whether it is to be learned, in data for generation."""
        self._flat.append(ids)
        self._learned.append(learned)
        self._ends.append(self._flat.rows)

    def rows(self, targets_N: NDArray[Any]) -> Rows:
        ends_N1 = np.asarray(self._ends, dtype=np.int64)
        return Rows(self._flat.close(), ends_N1, targets_N, self._learned.close(), self.characters)


class GatheredStream:
    def __init__(self, aside: Path, part: str, context: Sequence[int] | NDArray[np.int32] = ()) -> None:
        """`context`: ids before the text proper."""
        self._ids = NumberFile(file_of(aside, part, "ids_T"), np.int32)
        self._ids.append(context)
        self._context = len(context)
        self.characters = 0

    def __len__(self) -> int:
        return self._ids.rows - self._context

    def add(self, ids: Sequence[int]) -> None:
        self._ids.append(ids)

    def stream(self) -> Stream:
        return Stream(self._ids.close(), self.characters, self._context)

"""Collects the encoded tokens of one split on disk. Keeps only the end offset of each row in memory."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.data.number_file import NumberFile
from app.training.prepare.dataset import Rows, Stream, array_path


class GatheredRows:
    """Collects the rows of one split in files in the folder `staging`.

    `characters` is the number of characters in the learned text, over which the loss is computed.
    """

    def __init__(self, staging: Path, part: str) -> None:
        self._flat = NumberFile(array_path(staging, part, "flat"), np.int32)
        self._learned = NumberFile(array_path(staging, part, "learned"), np.uint8)
        self._ends = array("q", [0])
        self.characters = 0

    def add(self, ids: Sequence[int], learned: Sequence[int] = ()) -> None:
        """Add one row. In data for generation, `learned` contains 1 for each token over which the loss is computed."""
        self._flat.append(ids)
        self._learned.append(learned)
        self._ends.append(self._flat.rows)

    def to_rows(self, targets_N: NDArray[Any]) -> Rows:
        """Close the files and return all added rows, with their targets."""
        offsets_N1 = np.asarray(self._ends, dtype=np.int64)
        return Rows(self._flat.close(), offsets_N1, targets_N, self._learned.close(), self.characters)


class GatheredStream:
    """Collects the text of one split as one stream, in a file in the folder `staging`.

    `context` contains the ids that precede the text.
    """

    def __init__(self, staging: Path, part: str, context: Sequence[int] | NDArray[np.int32] = ()) -> None:
        self._ids = NumberFile(array_path(staging, part, "ids_T"), np.int32)
        self._ids.append(context)
        self._context = len(context)
        self.characters = 0

    def __len__(self) -> int:
        return self._ids.rows - self._context

    def add(self, ids: Sequence[int]) -> None:
        """Append token ids to the stream."""
        self._ids.append(ids)

    def to_stream(self) -> Stream:
        """Close the file and return the context followed by all added ids."""
        return Stream(self._ids.close(), self.characters, self._context)

"""Converts the token ids of the prepared data back to texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.tokenization.tokenizer import Tokenizer
from app.training.prepare.dataset import Rows

_BYTES_PER_TOKEN = 4  # an estimate for tokenizers without a byte table


class Texts:
    """Decodes ids with a tokenizer. With a byte table, tokens that do not represent text become spaces."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        pieces = tokenizer.token_bytes
        self._pieces = None
        if pieces is not None:
            self._pieces = [b" " if id_ in tokenizer.hidden_ids else piece for id_, piece in enumerate(pieces)]

    def decode(self, ids: Sequence[int]) -> str:
        """Convert a sequence of ids to text."""
        if self._pieces is None:
            return self._tokenizer.decode(ids)
        return b"".join([self._pieces[id_] for id_ in ids]).decode("utf-8", "replace")

    def of_rows(self, rows: Rows, chosen_N: NDArray[np.int64]) -> list[str]:
        """Return the texts of the given rows."""
        return [self.decode(rows.row(int(row)).tolist()) for row in chosen_N]

    def sizes(self, rows: Rows) -> NDArray[np.int64]:
        """Return the size of each row's text in bytes, estimated if the tokenizer has no byte table."""
        if self._pieces is None:
            return rows.lengths_N * _BYTES_PER_TOKEN
        lengths_V = np.asarray([len(piece) for piece in self._pieces], dtype=np.int64)
        starts_N = rows.offsets_N1[:-1]  # no row is empty
        return np.add.reduceat(lengths_V[rows.flat], starts_N) if len(starts_N) else rows.lengths_N

"""Converts prepared text for generation to symbols: one for each character, and one for each token that is not text."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.tokenization.tokenizer import Tokenizer
from app.training.prepare.dataset import Rows, Stream, kept_part

_BLOCK = 1 << 16  # the number of tokens to convert at once


@dataclass(frozen=True, slots=True)
class SymbolText:
    """Symbols of a text. `measured_T` is true for the symbols over which a network's loss is computed.

    A symbol is a code point or, for a token that is not text, such as an end token, ``-id - 1``.
    """

    symbols_T: NDArray[np.int64]
    measured_T: NDArray[np.bool_]


class Symbols:
    """Converts tokens to symbols with the tokenizer's byte table."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Raises ValueError if the tokenizer has no byte table."""
        if tokenizer.token_bytes is None:
            raise ValueError("the tokenizer has no byte table")
        self._pieces = tokenizer.token_bytes
        self._hidden = np.asarray(sorted(tokenizer.hidden_ids), dtype=np.int64)

    def of_stream(self, stream: Stream, most: int | None = None) -> SymbolText:
        """Return the symbols of the stream or, if it is longer than `most` tokens, of its last `most` tokens.

        If the whole stream is converted, the symbols of its context are marked as not measured.
        """
        ids_T = stream.ids_T[len(stream.ids_T) - most :] if most and most < len(stream.ids_T) else stream.ids_T
        context = self._symbols(ids_T[: stream.context]) if ids_T is stream.ids_T else np.zeros(0, dtype=np.int64)
        rest = self._symbols(ids_T[stream.context :] if ids_T is stream.ids_T else ids_T)
        measured_T = np.arange(len(context) + len(rest)) >= len(context)
        return SymbolText(np.concatenate([context, rest]), measured_T)

    def of_completions(self, rows: Rows, limit: int, most: int | None = None) -> SymbolText:
        """Return the symbols of completions, up to `most` tokens in total. Each completion is cut as for a network that
        reads `limit` tokens.
        """
        parts: list[NDArray[np.int64]] = []
        measured: list[NDArray[np.bool_]] = []
        tokens = 0
        for row in range(len(rows)):
            part = kept_part(rows, row, limit)
            ids, learned = rows.row(row)[part], rows.answer(row)[part].astype(bool)
            tokens += len(ids)
            if most is not None and tokens > most:
                break
            edges = [0, *(np.flatnonzero(np.diff(learned)) + 1).tolist(), len(ids)]
            for start, end in itertools.pairwise(edges):
                parts.append(self._symbols(ids[start:end]))
                measured.append(np.full(len(parts[-1]), bool(learned[start])))
        empty = np.zeros(0, dtype=np.int64)
        return SymbolText(np.concatenate([empty, *parts]), np.concatenate([empty.astype(bool), *measured]))

    def _symbols(self, ids_T: NDArray[np.int32]) -> NDArray[np.int64]:
        special_T = np.flatnonzero(np.isin(ids_T, self._hidden))
        edges = [0, *(edge for at in special_T.tolist() for edge in (at, at + 1)), len(ids_T)]
        parts = [np.zeros(0, dtype=np.int64)]
        for number, (start, end) in enumerate(itertools.pairwise(edges)):
            parts.append(-1 - ids_T[start:end].astype(np.int64) if number % 2 else self._points(ids_T[start:end]))
        return np.concatenate(parts)

    def _points(self, ids_T: NDArray[np.int32]) -> NDArray[np.int64]:
        text = b"".join([self._pieces[id_] for id_ in ids_T.tolist()]).decode("utf-8", "replace")
        return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.int64)

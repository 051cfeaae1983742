"""A character n-gram model with interpolated Kneser–Ney smoothing, the baseline of language models.

See Chen and Goodman, "An empirical study of smoothing techniques for language modeling" (1998), equations 18 and 24–26.
There is one discount for each order and count (1, 2, and 3 or more). Orders below the highest use continuation counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LONGEST = 8  # the maximum length of n-grams; a large alphabet reduces it, so that an n-gram fits in 63 bits
UNSEEN = 0x110000  # the number of code points in Unicode: an unseen character may be any of them
_BLOCK = 1 << 18


def order_for(alphabet: int) -> int:
    """Return the maximum n-gram length for an alphabet of this many symbols."""
    return max(1, min(LONGEST, 63 // max(1, alphabet.bit_length())))


@dataclass(frozen=True, slots=True)
class _Order:
    """The distinct n-grams of one length, as sorted codes, and their contexts, which lack the last symbol."""

    grams: NDArray[np.int64]
    kept: NDArray[np.float64]  # counts minus discounts
    contexts: NDArray[np.int64]
    totals: NDArray[np.float64]  # for each context, the sum of the counts of its n-grams
    backoff: NDArray[np.float64]  # the share of a context's probability that goes to the shorter n-gram


class NgramModel:
    """Predicts each symbol of a text from the preceding symbols. Symbols are as in `SymbolText`."""

    def __init__(self, text_T: NDArray[np.int64]) -> None:
        """Count the n-grams in a training text, which must not be empty."""
        self._alphabet = np.unique(text_T)
        # one additional code represents all symbols that are not in the training text
        self._size = len(self._alphabet) + 1
        self._bits = self._size.bit_length()
        self.order = min(order_for(self._size), len(text_T))
        codes_T = np.searchsorted(self._alphabet, text_T)
        grams, counts = np.unique(_grams(codes_T, self.order, self._bits), return_counts=True)
        orders = []
        for length in range(self.order, 0, -1):
            orders.append(self._order(grams, counts))
            # Continuation counts: the number of distinct symbols that precede each shorter n-gram in the text.
            grams, counts = np.unique(grams & ((1 << self._bits * (length - 1)) - 1), return_counts=True)
        self._orders = orders[::-1]

    def bits(self, text_T: NDArray[np.int64], context: int) -> NDArray[np.float64]:
        """Return the cost of each symbol of a text in bits, except for the first `context` symbols."""
        parts = [
            self._bits_of(text_T[max(0, start - self.order + 1) : start + _BLOCK], min(start, self.order - 1))
            for start in range(context, len(text_T), _BLOCK)
        ]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _bits_of(self, text_T: NDArray[np.int64], context: int) -> NDArray[np.float64]:
        codes_T = np.searchsorted(self._alphabet, text_T)
        in_alphabet_T = self._alphabet[np.minimum(codes_T, len(self._alphabet) - 1)] == text_T
        codes_T = np.where(in_alphabet_T, codes_T, self._size - 1)
        probability_T = np.full(len(text_T), 1.0 / self._size)
        for length, order in enumerate(self._orders[: len(text_T)], 1):
            grams = _grams(codes_T, length, self._bits)
            probability_T[length - 1 :] = self._interpolated(order, grams, probability_T[length - 1 :])
        bits_T = -np.log2(probability_T) + np.where(in_alphabet_T, 0.0, math.log2(UNSEEN))
        return np.asarray(bits_T[context:])

    def _interpolated(
        self, order: _Order, grams: NDArray[np.int64], shorter: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        at, hits = _look_up(order.contexts, grams >> self._bits)
        gram_at, gram_hits = _look_up(order.grams, grams)
        kept = np.where(gram_hits, order.kept[gram_at], 0.0)
        longer = kept / order.totals[at] + order.backoff[at] * shorter
        return np.where(hits, longer, shorter)

    def _order(self, grams: NDArray[np.int64], counts: NDArray[np.int64]) -> _Order:
        discounts = _discounts(counts)[np.minimum(counts, 3)]
        contexts, starts = np.unique(grams >> self._bits, return_index=True)
        totals = np.add.reduceat(counts, starts).astype(np.float64)
        backoff = np.add.reduceat(discounts, starts) / totals
        return _Order(grams, counts - discounts, contexts, totals, backoff)


def _discounts(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the discounts for counts of 0, 1, 2, and 3 or more."""
    n1, n2, n3, n4 = (int((counts == count).sum()) for count in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):  # the text is too short to estimate the discounts
        return np.asarray([0.0, 0.5, 0.75, 0.75])
    y = n1 / (n1 + 2 * n2)
    estimates = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
    return np.asarray(
        [0.0, *(min(max(value, 0.1), most) for value, most in zip(estimates, (0.9, 1.8, 2.7), strict=True))]
    )


def _grams(codes_T: NDArray[np.int64], length: int, bits: int) -> NDArray[np.int64]:
    """Return the codes of all n-grams of one length. The last symbol is in the lowest bits."""
    count = max(0, len(codes_T) - length + 1)
    grams = np.zeros(count, dtype=np.int64)
    for offset in range(length):
        grams = (grams << bits) | codes_T[offset : offset + count]
    return grams


def _look_up(table: NDArray[np.int64], keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return, for each key, its position in the sorted table and whether the table contains it."""
    at = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return at, table[at] == keys

"""Features of texts: n-grams of 1–2 words and of 2–5 characters, weighted by sublinear TF-IDF.

N-grams are identified by 64-bit hashes that are computed for all positions of a block of texts at once. scikit-learn's
vectorizers compute the same features one n-gram at a time, which takes several times as long.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import TfidfTransformer

BITS = 22  # the number of bits of a hash that determine its column
CHARACTERS = 2, 3, 4, 5
_SPACES = re.compile(r"\s\s+")
_WORD = re.compile(r"\w\w+")
_BLOCK = 100_000  # the number of characters whose n-grams are hashed at once
_MIX, _ADD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)

CountMatrix = Any  # a sparse matrix with one row per text; scipy has no type annotations
Hashes = tuple[NDArray[np.int64], NDArray[np.uint64]]  # for each n-gram, the number of its text, and its hash


class TextFeatures:
    """Computes the features of texts, with columns and weights that are fitted to the training texts."""

    def __init__(self, most_columns: int) -> None:
        self._groups = [_Group(_hash_words, most_columns // 2), _Group(_hash_characters, most_columns // 2)]

    def fit(self, texts: Sequence[str]) -> CountMatrix:
        """Choose columns and weights, and return the features of these texts."""
        normal = _normal(texts)
        return sparse.hstack([group.fit(normal) for group in self._groups]).tocsr()

    def transform(self, texts: Sequence[str]) -> CountMatrix:
        """Return the features of other texts, in the same columns."""
        normal = _normal(texts)
        return sparse.hstack([group.transform(normal) for group in self._groups]).tocsr()


def _normal(texts: Sequence[str]) -> list[str]:
    """Convert texts to lower case, and collapse runs of whitespace."""
    return [_SPACES.sub(" ", text.lower()) for text in texts]


class _Group:
    """N-grams of words or of characters. Within a group, the feature vector of each text has unit (L2) norm."""

    def __init__(self, hashes: Callable[[Sequence[str]], Iterator[Hashes]], most: int) -> None:
        self._hashes, self._most = hashes, most
        self._weights = TfidfTransformer(sublinear_tf=True)
        self._columns = np.zeros(0, dtype=np.int64)

    def fit(self, texts: Sequence[str]) -> CountMatrix:
        """Choose the columns, fit the weights, and return the features of the same texts."""
        counts = self._count(texts)
        rows_H = np.bincount(counts.indices, minlength=counts.shape[1])
        columns = np.flatnonzero(rows_H)
        if len(columns) > self._most:  # keep the columns of n-grams that occur in the most texts
            columns = np.sort(np.argsort(-rows_H, kind="stable")[: self._most])
        self._columns = columns
        return self._weights.fit_transform(counts[:, columns])

    def transform(self, texts: Sequence[str]) -> CountMatrix:
        return self._weights.transform(self._count(texts)[:, self._columns])

    def _count(self, texts: Sequence[str]) -> CountMatrix:
        """Count the occurrences of each n-gram in each text.

        The result has one row per text, and one column for each value of the first `BITS` bits of a hash.
        """
        blocks = [_counts(self._hashes(block), len(block)) for block in _blocks(texts)]
        return sparse.vstack(blocks).tocsr()


def _blocks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    start, size = 0, 0
    for number, text in enumerate(texts):
        if size > _BLOCK:
            yield texts[start:number]
            start, size = number, 0
        size += len(text)
    yield texts[start:]


def _counts(hashes: Iterator[Hashes], rows: int) -> CountMatrix:
    parts = [(rows_M << BITS) | (hashes_M >> np.uint64(64 - BITS)).astype(np.int64) for rows_M, hashes_M in hashes]
    keys, counts = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *parts]), return_counts=True)
    ends = np.searchsorted(keys >> BITS, np.arange(rows + 1))
    return sparse.csr_matrix((counts.astype(np.float64), keys & ((1 << BITS) - 1), ends), shape=(rows, 1 << BITS))


def _hash_characters(texts: Sequence[str]) -> Iterator[Hashes]:
    lengths_N = np.asarray([len(text) for text in texts])
    rows_M = np.repeat(np.arange(len(texts)), lengths_N)
    points_M = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    hashes_M = np.zeros(len(points_M), dtype=np.uint64)
    for length in range(1, min(CHARACTERS[-1], len(points_M)) + 1):
        last = length - 1
        hashes_M = _mixed(hashes_M[: len(points_M) - last], points_M[last:])
        inside_M = rows_M[: len(hashes_M)] == rows_M[last:]  # the n-gram does not extend into the next text
        if length in CHARACTERS:
            yield rows_M[: len(hashes_M)][inside_M], hashes_M[inside_M] * _MIX


def _hash_words(texts: Sequence[str]) -> Iterator[Hashes]:
    ids_of_words: dict[str, int] = {}
    words = [_WORD.findall(text) for text in texts]
    rows_M = np.repeat(np.arange(len(texts)), [len(part) for part in words])
    ids = [ids_of_words.setdefault(word, len(ids_of_words)) for part in words for word in part]
    own_M = np.asarray(list(map(_hash_word, ids_of_words)), dtype=np.uint64)[np.asarray(ids, dtype=np.int64)]
    yield rows_M, own_M
    inside_M = rows_M[:-1] == rows_M[1:]
    yield rows_M[:-1][inside_M], _mixed(own_M[:-1], own_M[1:])[inside_M] * _MIX


def _hash_word(word: str) -> int:
    return int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _mixed(hashes: NDArray[np.uint64], values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = (hashes * _MIX) ^ (values * _ADD + _MIX)
    return np.asarray(mixed ^ (mixed >> np.uint64(29)))

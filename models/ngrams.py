"""A linear classifier whose features are n-grams, used as a classifier's branch `ngrams` or as the network `linear`.

The features are the character and word n-grams of a text, weighted by TF-IDF (Salton and Buckley, 1988) with sublinear
term frequencies, and hashed into a table (Weinberger et al., 2009). On small data sets, such a model is often as
accurate as a network (Wang and Manning, 2012). A classifier with this branch adds its scores to those of a network
(Cheng et al., 2016).

The text is reconstructed from the token ids and the bytes of each token. Therefore, the features depend only on the
text, not on its tokenization or on whether a request contains the text or its token ids.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.config import ModelConfig
from models.transfer import copy_to

_CHARACTERS, _WORDS = 0, 1  # the two halves of the table, each normalised separately
_BASE = 0x9E3779B97F4A7C15  # an odd number, so it has an inverse modulo 2^64
_CHUNK = 1 << 20  # characters hashed at once; limits the memory for intermediate results
_NO_KEY = 2**63 - 1  # greater than every key


class Ngrams(nn.Module):
    """Computes scores (B, C) from the n-grams of each row.

    `weight` has one row per bucket, and `idf` has one inverse document frequency per bucket. `bind_tokens` must be
    called once before the first forward pass.

    The n-grams are counted and weighted on the host, so `idf` stays there when the network is moved to an accelerator.
    The host waits for the accelerator only if the token ids or the lengths are on it.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.characters, self.words = config.ngram_characters, config.ngram_words
        self.weight = nn.Parameter(torch.empty(config.ngram_buckets, config.classes))
        self.bias = nn.Parameter(torch.empty(config.classes))
        self.idf = nn.Parameter(torch.empty(config.ngram_buckets), requires_grad=False)
        self._pieces: Sequence[bytes] | None = None

    def bind_tokens(self, pieces: Sequence[bytes]) -> None:
        """Set the bytes of each token: `pieces[id]` contains the bytes that the token adds to a text."""
        self._pieces = pieces

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Move or convert the parameters, as `to` does, but leave `idf` on the host."""
        idf_N = self.idf.data
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.idf.device.type != "cpu":
            self.idf = nn.Parameter(idf_N.to(self.idf.dtype), requires_grad=False)
        return self

    def forward(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Return scores_BC. A row's scores do not depend on padding or on the other rows in the batch."""
        rows_N, buckets_N, counts_N = self.count(ids_BT, lengths_B)
        offsets_B, weights_N = self._weigh(rows_N, buckets_N, counts_N, len(ids_BT))
        device = self.weight.device
        scores_BC = functional.embedding_bag(
            copy_to(buckets_N, device),
            self.weight,
            copy_to(offsets_B, device),
            mode="sum",
            per_sample_weights=copy_to(weights_N.to(self.weight.dtype), device),
            sparse=self.training,
        )
        return scores_BC + self.bias

    def count(self, ids_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (row, bucket, number of n-grams) for each bucket that a row uses, sorted by row and bucket."""
        texts = self._texts(ids_BT, lengths_B)
        parts, start = [], 0
        for stop in _chunks(texts):
            rows_N, buckets_N, counts_N = self._count(texts[start:stop])
            parts.append((rows_N + start, buckets_N, counts_N))
            start = stop
        rows, buckets, counts = zip(*parts, strict=True)
        return torch.cat(rows), torch.cat(buckets), torch.cat(counts)

    def _texts(self, ids_BT: Tensor, lengths_B: Tensor) -> list[str]:
        """Return each row's text in lower case, with a space at each end and single spaces inside."""
        if self._pieces is None:
            raise RuntimeError("bind_tokens must be called before the n-grams of a text can be computed")
        pieces, texts = self._pieces, []
        for ids, length in zip(ids_BT.tolist(), lengths_B.tolist(), strict=True):
            text = b"".join([pieces[i] for i in ids[:length]]).decode("utf-8", "replace").lower()
            texts.append(f" {' '.join(text.split())} ")
        return texts

    def _count(self, texts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        codes_T, rows_T, ends_T = _code_points(texts)
        hashes = _PrefixHashes(codes_T, max(self.characters, 1))
        bits = (len(self.weight) // 2).bit_length() - 1  # bits of a bucket's index within its half of the table
        keys = []
        if self.characters >= 2:
            keys.append(hashes.characters(self.characters, (rows_T * 2 + _CHARACTERS) << bits, ends_T, bits))
        if self.words:
            keys.append(hashes.words(self.words, (rows_T * 2 + _WORDS) << bits, codes_T, bits))
        keys_N = _sorted(torch.cat(keys))
        keys_N = keys_N[: torch.searchsorted(keys_N, _NO_KEY)]
        distinct_N, counts_N = torch.unique_consecutive(keys_N, return_counts=True)
        return distinct_N >> (bits + 1), distinct_N & (len(self.weight) - 1), counts_N

    def _weigh(self, rows_N: Tensor, buckets_N: Tensor, counts_N: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """Return the index of each row's first entry, and the weight of each entry (a bucket that the row uses).

        In each row, the weights of character n-grams and those of word n-grams are scaled to unit L2 norm separately.
        """
        idf_N = self.idf.index_select(0, buckets_N).float()
        weights_N = counts_N.float().log_().add_(1.0).mul_(idf_N)
        families_N = rows_N * 2 + (buckets_N >= len(self.weight) // 2)  # sorted, because rows and buckets are sorted
        edges = torch.searchsorted(families_N, torch.arange(2 * rows + 1))
        squares_R = torch.segment_reduce(weights_N.square(), "sum", offsets=edges, initial=0.0)
        scales_R = squares_R.clamp_(min=1e-12).rsqrt_()
        return edges[:-1:2], weights_N * scales_R.index_select(0, families_N)


class DocumentFrequencies:
    """Computes the inverse document frequencies of a network's n-grams over the training rows."""

    def __init__(self, ngrams: Ngrams) -> None:
        self._ngrams, self._rows = ngrams, 0
        self._counts_N = torch.zeros(len(ngrams.weight), dtype=torch.int64)

    def add(self, ids_BT: Tensor, lengths_B: Tensor) -> None:
        """Count the rows of a batch and, for each bucket, the rows with an n-gram in it."""
        _, buckets_N, _ = self._ngrams.count(ids_BT, lengths_B)
        self._counts_N += torch.bincount(buckets_N, minlength=len(self._counts_N))
        self._rows += len(ids_BT)

    def apply(self) -> None:
        """Set each bucket's `idf` to ln((1 + rows) / (1 + rows with an n-gram in the bucket)) + 1."""
        idf_N = ((1.0 + self._rows) / (1.0 + self._counts_N.double())).log() + 1.0
        self._ngrams.idf.copy_(idf_N)


class _PrefixHashes:
    """Computes polynomial hashes of all pieces of a text from the hashes of its prefixes (Karp and Rabin, 1987).

    If S[i] is the sum of code[j] * b^j over j < i, then the hash of the piece from i to k is (S[k] - S[i]) * b^-i. All
    arithmetic is modulo 2^64.
    """

    def __init__(self, codes_T: Tensor, longest: int) -> None:
        steps = len(codes_T)
        powers_T, self._inverse_T = _powers(steps)
        # The last prefix is repeated beyond the end, so that a piece of any length can start at every position.
        self._prefixes = torch.zeros(steps + 1 + longest, dtype=torch.int64)
        torch.cumsum((codes_T + 1) * powers_T, 0, out=self._prefixes[1 : steps + 1])
        self._prefixes[steps + 1 :] = self._prefixes[steps]

    def characters(self, longest: int, prefixes_T: Tensor, ends_T: Tensor, bits: int) -> Tensor:
        """Return a key for each n-gram of 2 to `longest` characters within a row.

        A key is the entry of `prefixes_T` for the n-gram's first position, plus the index of the n-gram's bucket. This
        index fills the lowest `bits` bits. N-grams that would extend beyond their row get `_NO_KEY`.
        """
        steps = len(ends_T)
        room_T = ends_T - torch.arange(steps)
        sizes_N = torch.arange(2, longest + 1)[:, None]
        windows_NT = self._prefixes.unfold(0, steps, 1)[2 : longest + 1]
        hashes_NT = torch.empty(longest - 1, steps, dtype=torch.int64)
        torch.sub(windows_NT, self._prefixes[:steps], out=hashes_NT).mul_(self._inverse_T)
        keys_NT = bucket_of(hashes_NT, bits).add_(prefixes_T)
        return keys_NT.masked_fill_(sizes_N > room_T, _NO_KEY).view(-1)

    def words(self, most: int, prefixes_T: Tensor, codes_T: Tensor, bits: int) -> Tensor:
        """Return a key for each word, and for each sequence of up to `most` words within a row."""
        inside_T = _word_characters()[codes_T]
        edges_N = (inside_T[1:] ^ inside_T[:-1]).nonzero()[:, 0] + 1  # every row begins and ends with a space
        starts_N, ends_N = edges_N[0::2], edges_N[1::2]
        word_N = _mixed((self._prefixes[ends_N] - self._prefixes[starts_N]) * self._inverse_T[starts_N])
        prefixes_N = prefixes_T[starts_N]
        keys, sequence_N = [bucket_of(word_N, bits) + prefixes_N], word_N
        for size in range(1, most):
            sequence_N = sequence_N[:-1] * _signed(_BASE) + word_N[size:]
            same_N = prefixes_N[size:] == prefixes_N[: len(word_N) - size]
            keys.append((bucket_of(sequence_N, bits) + prefixes_N[size:])[same_N])
        return torch.cat(keys)


def _code_points(texts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the code points of all texts and, for each code point, its row and the end of that row.

    Each text is followed by a line feed.
    """
    joined = "\n".join(texts) + "\n"
    codes_T = torch.frombuffer(bytearray(joined.encode("utf-32-le", "replace")), dtype=torch.int32).long()
    lengths_B = torch.tensor([len(text) + 1 for text in texts])
    rows_T = torch.repeat_interleave(torch.arange(len(texts)), lengths_B)
    return codes_T, rows_T, torch.repeat_interleave(lengths_B.cumsum(0) - 1, lengths_B)


def _chunks(texts: list[str]) -> list[int]:
    """Return the end of each group of consecutive texts. A group has at most about `_CHUNK` characters or one text."""
    ends, size = [], 0
    for number, text in enumerate(texts):
        if size and size + len(text) > _CHUNK:
            ends.append(number)
            size = 0
        size += len(text) + 1
    return [*ends, len(texts)]


def bucket_of(hashes_N: Tensor, bits: int) -> Tensor:
    """Return a bucket from 0 to 2^bits - 1 for each hash."""
    return _mixed(hashes_N).bitwise_right_shift_(24).bitwise_and_((1 << bits) - 1)


def _mixed(hashes_N: Tensor) -> Tensor:
    """Spread every bit of a hash over all bits (the finalizer of MurmurHash3; Appleby, 2011)."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        high_N = (hashes_N >> 33).bitwise_and_(0x7FFFFFFF)
        hashes_N = high_N.bitwise_xor_(hashes_N).mul_(_signed(factor))
    return hashes_N


def _sorted(keys_N: Tensor) -> Tensor:
    """Sort keys in place. NumPy's sort uses vector instructions, and is about ten times as fast as torch's."""
    keys_N.numpy().sort()
    return keys_N


def _signed(value: int) -> int:
    """Return the signed 64-bit integer with the same bits as `value` modulo 2^64."""
    value %= 1 << 64
    return value - (1 << 64) if value >> 63 else value


def _powers(count: int) -> tuple[Tensor, Tensor]:
    """Return the powers of the base and of its inverse with exponents from 0 to `count` - 1, modulo 2^64."""
    powers, inverses = _power_tables(max(1024, 1 << (count - 1).bit_length()))
    return powers[:count], inverses[:count]


@functools.lru_cache(maxsize=4)
def _power_tables(count: int) -> tuple[Tensor, Tensor]:
    def table(base: int) -> Tensor:
        powers_N = torch.full((count,), _signed(base))
        powers_N[0] = 1
        return torch.cumprod(powers_N, 0)

    return table(_BASE), table(pow(_BASE, -1, 1 << 64))


@functools.lru_cache(maxsize=1)
def _word_characters() -> Tensor:
    """Return, for each code point, whether it is a word character: a letter, a digit or an underscore."""
    inside = torch.zeros(sys.maxunicode + 1, dtype=torch.bool)
    for match in re.finditer(r"\w+", "".join(map(chr, range(sys.maxunicode + 1)))):
        inside[match.start() : match.end()] = True
    return inside

"""Which examples make which batch: pure functions of (seed, step), so that a resumed run sees what a whole one would.

Rows of like length go together, so that little is padding; the rows of an epoch are all seen once. A text is cut
anew each epoch, at another offset, into windows that are seen in random order. Knows arrays and tensors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.training.prepare.dataset import Rows, Stream, kept_part

IGNORED = -100
_GROUP = 32  # batches of rows that are drawn together and sorted by length


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded inputs (ids_BT or x_BTF), their lengths, and targets: of each row, or of each step (-100: none)."""

    inputs: Tensor
    lengths_B: Tensor
    targets: Tensor

    @property
    def tokens(self) -> int:
        return int(self.lengths_B.sum())


def derive(seed: int, *parts: object) -> int:
    """63 bits that depend on the seed and on what they are for, and on nothing else."""
    text = ":".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


class RowBatches:
    """Batches of `size` rows. A batch that is larger than `micro_tokens`, padding included, comes in pieces."""

    def __init__(self, rows: Rows, size: int, seed: int, *, limit: int, micro_tokens: int, causal: bool) -> None:
        self.rows, self.size, self.seed = rows, size, seed
        self.limit, self.micro_tokens, self.causal = limit, micro_tokens, causal
        self._lengths_N = np.minimum(rows.lengths_N, limit)
        self._plan: tuple[int, list[NDArray[np.int64]]] = (-1, [])

    @property
    def steps_per_epoch(self) -> int:
        return max(1, -(-len(self.rows) // self.size))

    def pieces(self, step: int) -> list[Batch]:
        """The batch of a step (from 0), as one piece or several."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._plan[0] != epoch:
            self._plan = (epoch, self._order(epoch))
        return [self.gather(part) for part in self._cut(self._plan[1][position])]

    def _order(self, epoch: int) -> list[NDArray[np.int64]]:
        random = np.random.default_rng(derive(self.seed, "order", epoch))
        order_N = random.permutation(len(self.rows))
        batches: list[NDArray[np.int64]] = []
        for start in range(0, len(order_N), self.size * _GROUP):
            group = order_N[start : start + self.size * _GROUP]
            group = group[np.argsort(self._lengths_N[group], kind="stable")]
            batches.extend(group[at : at + self.size] for at in range(0, len(group), self.size))
        return [batches[i] for i in random.permutation(len(batches))]

    def _cut(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        rows = rows[np.argsort(self._lengths_N[rows], kind="stable")]
        start = 0
        for end in range(1, len(rows) + 1):
            if end == len(rows) or (end + 1 - start) * self._lengths_N[rows[end]] > self.micro_tokens:
                yield rows[start:end]
                start = end

    def gather(self, rows: Sequence[int] | NDArray[np.int64]) -> Batch:
        return completion_batch(self.rows, rows, self.limit) if self.causal else row_batch(self.rows, rows, self.limit)

    def in_order(self, most: int | None = None) -> Iterator[tuple[Batch, NDArray[np.int64]]]:
        """Every row once (or an even choice of `most`), the short ones first, with the rows' numbers."""
        chosen = np.arange(len(self.rows))
        if most is not None and most < len(chosen):
            chosen = np.linspace(0, len(chosen) - 1, most).astype(np.int64)
        chosen = chosen[np.argsort(self._lengths_N[chosen], kind="stable")]
        for part in self._cut(chosen):
            for at in range(0, len(part), 256):
                yield self.gather(part[at : at + 256]), part[at : at + 256]


def row_batch(rows: Rows, chosen: Sequence[int] | NDArray[np.int64], limit: int) -> Batch:
    pieces = [rows.row(int(i))[:limit] for i in chosen]
    targets = torch.from_numpy(rows.targets_N[chosen])
    return Batch(_padded(pieces), torch.tensor([len(piece) for piece in pieces]), targets)


def completion_batch(rows: Rows, chosen: Sequence[int] | NDArray[np.int64], limit: int) -> Batch:
    """Ids and the ids that follow, where they are to be learned."""
    inputs, targets = [], []
    for i in chosen:
        kept = kept_part(rows, int(i), limit)
        row, learned = rows.row(int(i))[kept].astype(np.int64), rows.answer(int(i))[kept]
        inputs.append(row[:-1])
        targets.append(np.where(learned[1:] > 0, row[1:], IGNORED))
    return Batch(_padded(inputs), torch.tensor([len(i) for i in inputs]), _padded(targets, IGNORED))


def _padded(pieces: list[NDArray[Any]], fill: int = 0) -> Tensor:
    longest = max(map(len, pieces))
    kind = np.float32 if pieces[0].dtype == np.float32 else np.int64
    padded = np.full((len(pieces), longest, *pieces[0].shape[1:]), fill, dtype=kind)
    for place, piece in zip(padded, pieces, strict=True):
        place[: len(piece)] = piece
    return torch.from_numpy(padded)


class StreamBatches:
    """Batches of `size` windows of `window` tokens of one text."""

    def __init__(self, stream: Stream, size: int, seed: int, *, window: int, micro_tokens: int) -> None:
        self.ids_T, self.seed = stream.ids_T, seed
        self.window = min(window, len(self.ids_T) - 1)
        self.rows_at_once = max(1, micro_tokens // self.window)
        self.windows = max(1, (len(self.ids_T) - 1) // self.window)
        self.size = min(size, self.windows)
        self._plan: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, dtype=np.int64))

    @property
    def steps_per_epoch(self) -> int:
        return max(1, self.windows // self.size)

    def pieces(self, step: int) -> list[Batch]:
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._plan[0] != epoch:
            self._plan = (epoch, self._starts(epoch))
        starts = self._plan[1][position * self.size : (position + 1) * self.size]
        return [self._gather(starts[at : at + self.rows_at_once]) for at in range(0, len(starts), self.rows_at_once)]

    def _starts(self, epoch: int) -> NDArray[np.int64]:
        random = np.random.default_rng(derive(self.seed, "order", epoch))
        slack = len(self.ids_T) - 1 - self.windows * self.window
        # Where the text leaves no room to shift all windows, one fewer makes some.
        count, room = (self.windows - 1, self.window + slack) if self.windows > self.size else (self.windows, slack)
        starts: NDArray[np.int64] = int(random.integers(0, room + 1)) + random.permutation(count) * self.window
        return starts if count == self.windows else np.append(starts, int(random.integers(0, room + 1)))

    def _gather(self, starts: NDArray[np.int64]) -> Batch:
        index_BT = starts[:, None] + np.arange(self.window + 1)[None, :]
        ids_BT = torch.from_numpy(self.ids_T[index_BT].astype(np.int64))
        lengths_B = torch.full((len(starts),), self.window, dtype=torch.int64)
        return Batch(ids_BT[:, :-1].contiguous(), lengths_B, ids_BT[:, 1:].contiguous())


def held_out_windows(stream: Stream, window: int, overlap: int, rows: int, most: int | None = None) -> Iterator[Batch]:
    """Every token after the stream's context is a target exactly once, with `overlap` tokens or more before it
    where there are any. `most`: stop after about so many targets."""
    first, end = max(1, stream.context), len(stream.ids_T)
    if most is not None:
        end = min(end, first + most)
    stride = max(1, window - overlap)
    places = [(at, min(at + stride, end)) for at in range(first, end, stride)]
    for start in range(0, len(places), rows):
        inputs, targets = [], []
        for at, stop in places[start : start + rows]:
            begin = max(0, stop - 1 - window)
            ids_T = stream.ids_T[begin:stop].astype(np.int64)
            inputs.append(ids_T[:-1])
            targets.append(np.where(np.arange(begin + 1, stop) < at, IGNORED, ids_T[1:]))
        yield Batch(_padded(inputs), torch.tensor([len(i) for i in inputs]), _padded(targets, IGNORED))

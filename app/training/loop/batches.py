"""Creates batches as a pure function of (seed, step), so that a resumed training run uses the same batches.

The rows of a batch have similar lengths, to reduce padding. An epoch contains every row once. A long text is divided
into windows. In each epoch, the first window starts at a new random offset, and the windows are used in random order.
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

from app.training.plan.config import Settled
from app.training.prepare.dataset import Dataset, Rows, Stream, kept_part

IGNORED = -100  # marks a step without a target
_GROUP = 32  # the number of batches whose rows are drawn together, then sorted by length


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded inputs (ids_BT or x_BTF), their lengths, and their targets.

    There is one target per row or, in a batch from `of_text`, per step. If the batch is a copy on an accelerator,
    `host` is the original.
    """

    inputs: Tensor
    lengths_B: Tensor
    targets: Tensor
    learned_N: Tensor | None = None
    host: Batch | None = None

    @classmethod
    def of_text(cls, ids_BT: Tensor, lengths_B: Tensor, targets_BT: Tensor) -> Batch:
        """Create a batch for next-token prediction. The value -100 means that a step has no target.

        `learned_N` contains the steps that have a target, as indices into the flattened `targets_BT`. `learned_N` is
        computed on the host, because its length determines the shapes of other tensors: if a GPU computed it, the host
        would have to wait for the result.
        """
        return cls(ids_BT, lengths_B, targets_BT, (targets_BT != IGNORED).flatten().nonzero()[:, 0])

    @property
    def on_host(self) -> Batch:
        """The batch whose values the host can read without waiting for a device."""
        return self.host or self

    @property
    def tokens(self) -> int:
        """The number of tokens or numeric steps, excluding padding."""
        return int(self.lengths_B.sum())


def derive(seed: int, *parts: object) -> int:
    """Derive a 63-bit seed for the purpose named by `parts`. The seed is the same in every process, and independent of
    the seeds for other purposes.
    """
    text = ":".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


class RowBatches:
    """Divides rows into batches of `size` rows each (on average, if `balanced`). Rows are cut after `limit` steps.

    If `balanced` is true, all batches take about the same time: batches of short rows contain more rows than batches of
    long rows. A batch of more than `micro_tokens` steps, including padding, is split into pieces. A single row that
    exceeds this limit becomes a separate piece. If `causal` is true, the batches are for next-token prediction.
    """

    def __init__(
        self, rows: Rows, size: int, seed: int, *, limit: int, micro_tokens: int, causal: bool, balanced: bool = False
    ) -> None:
        self.rows, self.size, self.seed = rows, size, seed
        self.limit, self.micro_tokens, self.causal, self.balanced = limit, micro_tokens, causal, balanced
        self._lengths_N = np.minimum(rows.lengths_N, limit)
        self._plan: tuple[int, list[NDArray[np.int64]]] = (-1, [])

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches that together contain every row once; at least 1."""
        return max(1, -(-len(self.rows) // self.size))

    def pieces(self, step: int) -> list[Batch]:
        """Return the batch of a step (counted from 0 over all epochs), as one or more pieces."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._plan[0] != epoch:
            self._plan = (epoch, self._order(epoch))
        return [self.gather(part) for part in self._cut(self._plan[1][position])]

    def _order(self, epoch: int) -> list[NDArray[np.int64]]:
        """Return the batches of an epoch. Random groups of rows are sorted by length and cut into batches, and the
        batches are then shuffled.
        """
        random = np.random.default_rng(derive(self.seed, "order", epoch))
        order_N = random.permutation(len(self.rows))
        batches: list[NDArray[np.int64]] = []
        for start in range(0, len(order_N), self.size * _GROUP):
            group = order_N[start : start + self.size * _GROUP]
            group = group[np.argsort(self._lengths_N[group], kind="stable")]
            batches.extend(np.split(group, self._cuts(self._lengths_N[group])))
        return [batches[i] for i in random.permutation(len(batches))]

    def _cuts(self, lengths_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions where the sorted rows are cut into batches. The number of positions depends only on the
        number of rows.
        """
        count = -(-len(lengths_N) // self.size)
        if not self.balanced:
            return np.arange(1, count) * self.size
        # Besides the cost of its steps, every row has a constant cost. Therefore, no batch has more than twice as many
        # rows as the average batch, even if its rows are very short.
        cost_N = np.cumsum(lengths_N + lengths_N.mean())
        cuts = np.searchsorted(cost_N, cost_N[-1] * np.arange(1, count) / count)
        # Each batch begins at least one row after the previous batch, and leaves one row for each later batch.
        # Therefore, no batch is empty.
        first = np.arange(1, count)
        return np.minimum(np.maximum.accumulate(cuts - first) + first, len(lengths_N) - count + first).clip(min=first)

    def _cut(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Sort rows by length, and divide them into pieces that, when padded, have at most `micro_tokens` steps."""
        rows = rows[np.argsort(self._lengths_N[rows], kind="stable")]
        start = 0
        for end in range(1, len(rows) + 1):
            if end == len(rows) or (end + 1 - start) * self._lengths_N[rows[end]] > self.micro_tokens:
                yield rows[start:end]
                start = end

    def gather(self, rows: Sequence[int] | NDArray[np.int64]) -> Batch:
        """Return a batch of the rows with these numbers."""
        return completion_batch(self.rows, rows, self.limit) if self.causal else row_batch(self.rows, rows, self.limit)

    def in_order(self, most: int | None = None) -> Iterator[tuple[Batch, NDArray[np.int64]]]:
        """Yield batches of all rows, or of `most` evenly spaced rows, from the shortest to the longest, with their row
        numbers.
        """
        chosen = spaced(len(self.rows), most)
        chosen = chosen[np.argsort(self._lengths_N[chosen], kind="stable")]
        for part in self._cut(chosen):
            for at in range(0, len(part), 256):
                yield self.gather(part[at : at + 256]), part[at : at + 256]


def spaced(count: int, most: int | None) -> NDArray[np.int64]:
    """Return the numbers from 0 to `count` - 1 or, if there are more than `most`, `most` evenly spaced ones."""
    if most is None or most >= count:
        return np.arange(count)
    return np.linspace(0, count - 1, most).astype(np.int64)


def row_batch(rows: Rows, chosen: Sequence[int] | NDArray[np.int64], limit: int) -> Batch:
    """Return a batch of rows with one target each. Rows are cut after `limit` steps."""
    pieces = [rows.row(int(i))[:limit] for i in chosen]
    targets = torch.from_numpy(rows.targets_N[chosen])
    return Batch(_padded(pieces), torch.tensor([len(piece) for piece in pieces]), targets)


def completion_batch(rows: Rows, chosen: Sequence[int] | NDArray[np.int64], limit: int) -> Batch:
    """Return a batch for next-token prediction. A step has a target only if the next token is learned."""
    inputs, targets = [], []
    for i in chosen:
        kept = kept_part(rows, int(i), limit)
        row, learned = rows.row(int(i))[kept].astype(np.int64), rows.answer(int(i))[kept]
        inputs.append(row[:-1])
        targets.append(np.where(learned[1:] > 0, row[1:], IGNORED))
    return Batch.of_text(_padded(inputs), torch.tensor([len(i) for i in inputs]), _padded(targets, IGNORED))


def _padded(pieces: list[NDArray[Any]], fill: int = 0) -> Tensor:
    longest = max(map(len, pieces))
    kind = np.float32 if pieces[0].dtype == np.float32 else np.int64
    padded = np.full((len(pieces), longest, *pieces[0].shape[1:]), fill, dtype=kind)
    for place, piece in zip(padded, pieces, strict=True):
        place[: len(piece)] = piece
    return torch.from_numpy(padded)


class StreamBatches:
    """Batches of `size` windows of one text. A window has `window` tokens.

    A batch is split into pieces of at most `micro_tokens` tokens, or of one window each if a window is longer.
    """

    def __init__(self, stream: Stream, size: int, seed: int, *, window: int, micro_tokens: int) -> None:
        self.ids_T, self.seed = stream.ids_T, seed
        self.window = min(window, len(self.ids_T) - 1)
        self.piece_size = max(1, micro_tokens // self.window)
        self.windows = max(1, (len(self.ids_T) - 1) // self.window)
        self.size = min(size, self.windows)
        self._plan: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, dtype=np.int64))

    @property
    def steps_per_epoch(self) -> int:
        return max(1, self.windows // self.size)

    def pieces(self, step: int) -> list[Batch]:
        """Return the batch of a step (counted from 0 over all epochs), as one or more pieces."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._plan[0] != epoch:
            self._plan = (epoch, self._starts(epoch))
        starts = self._plan[1][position * self.size : (position + 1) * self.size]
        return [self._gather(starts[at : at + self.piece_size]) for at in range(0, len(starts), self.piece_size)]

    def _starts(self, epoch: int) -> NDArray[np.int64]:
        """Return the start offsets of an epoch's windows in random order.

        The windows are adjacent, and the first one starts at a random offset.
        """
        random = np.random.default_rng(derive(self.seed, "order", epoch))
        slack = len(self.ids_T) - 1 - self.windows * self.window
        # One of the adjacent windows is left out, so that the offset of the others can be up to one window larger. It
        # is replaced by a window near the start or the end of the text, in proportion to the tokens that the others
        # leave out there. If a batch takes all windows, no window is left out.
        count, room = (self.windows - 1, self.window + slack) if self.windows > self.size else (self.windows, slack)
        offset = int(random.integers(0, room + 1))
        starts: NDArray[np.int64] = offset + random.permutation(count) * self.window
        if count == self.windows:
            return starts
        # The replacement is drawn last. Earlier releases drew it only near the start of the text. If a run of such a
        # release is resumed, only this window differs.
        replacement = int(random.integers(0, room + 1))
        return np.append(starts, replacement if replacement < offset else replacement + (count - 1) * self.window)

    def _gather(self, starts: NDArray[np.int64]) -> Batch:
        index_BT = starts[:, None] + np.arange(self.window + 1)[None, :]
        ids_BT = torch.from_numpy(self.ids_T[index_BT].astype(np.int64))
        lengths_B = torch.full((len(starts),), self.window, dtype=torch.int64)
        return Batch.of_text(ids_BT[:, :-1].contiguous(), lengths_B, ids_BT[:, 1:].contiguous())


def build_batches(settled: Settled, dataset: Dataset) -> RowBatches | StreamBatches:
    """Return the batches of a training run: windows of a text stream, or rows of any other data."""
    size, seed, micro, train = settled.batch_size, settled.seed, settled.micro_tokens, dataset.train
    if isinstance(train, Stream):
        return StreamBatches(train, size, seed, window=settled.window, micro_tokens=micro)
    causal, limit = dataset.facts.task == "generation", settled.row_limit or settled.config.context_length
    return RowBatches(train, size, seed, limit=limit, micro_tokens=micro, causal=causal, balanced=settled.balanced)


def held_out_windows(stream: Stream, window: int, overlap: int, rows: int, most: int | None = None) -> Iterator[Batch]:
    """Yield batches of up to `rows` windows. Together, the windows cover the whole stream.

    Every token after the stream's context is a target in exactly one window.

    In its window, each target is preceded by at least `overlap` tokens or, near the start of the stream, by all earlier
    tokens. If `most` is given, only the first `most` tokens are targets.
    """
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
        yield Batch.of_text(_padded(inputs), torch.tensor([len(i) for i in inputs]), _padded(targets, IGNORED))

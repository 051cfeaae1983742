"""Chooses the rows of the next batch. Imports no torch.

All rows of a batch are padded to the length of its longest row, so rows of similar length are batched together. Every
batch includes the row that has waited longest, so that no row waits forever. A batch starts without waiting for more
rows.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Payload = TypeVar("Payload")

# The fixed cost of a call (reading the weights, starting kernels) is about the same as the cost of this many rows.
# In measurements with 64 clients and texts of 5 to 150 tokens, values from 2 to 4 were best for both Transformers
# (4 layers of width 256) and LSTMs (2 layers of width 256).
ROWS_OF_A_CALL = 3
# A longer row can join the batch of the oldest row if its length is at most STRETCH times the length of the oldest row,
# plus STRETCH_STEPS.
STRETCH, STRETCH_STEPS = 1.1, 8


class Batcher(Generic[Payload]):
    """A queue of waiting rows, sorted by length.

    `max_tokens` limits the padded size of a batch (the number of rows times the length of the longest row); a row that
    exceeds it runs alone. `max_rows` limits the number of rows in a batch.
    """

    def __init__(self, max_tokens: int, max_rows: int = 512) -> None:
        self.max_tokens = max_tokens
        self.max_rows = max_rows
        self._arrivals = 0
        self._by_length: list[tuple[int, int, Payload]] = []
        self._by_arrival: deque[tuple[int, int]] = deque()  # (length, arrival)

    def __len__(self) -> int:
        return len(self._by_length)

    def add(self, length: int, payload: Payload) -> None:
        """Add a row of `length` steps. Takes time linear in the number of longer rows, which are moved."""
        self._arrivals += 1  # unique, so that payloads are never compared
        insort(self._by_length, (length, self._arrivals, payload))
        self._by_arrival.append((length, self._arrivals))

    def discard(self, unwanted: Callable[[Payload], bool]) -> None:
        """Drop the rows for which `unwanted` is true.

        Each call scans all waiting rows, so drop as many rows per call as possible.
        """
        self._by_length = [entry for entry in self._by_length if not unwanted(entry[2])]

    def next_batch(self, wanted: Callable[[list[int]], bool] = lambda lengths: True) -> list[Payload]:
        """Remove and return the next batch, shortest row first. The batch is empty if no row is waiting.

        If `wanted` is false for the lengths of its rows, nothing is removed, and an empty batch is returned.
        """
        if not self._by_length:
            self._by_arrival.clear()
            return []
        start, end = self._window(self._oldest())
        if not wanted([length for length, _, _ in self._by_length[start:end]]):
            return []
        batch = [payload for _, _, payload in self._by_length[start:end]]
        del self._by_length[start:end]
        return batch

    def _oldest(self) -> int:
        """Return the `_by_length` index of the longest-waiting row.

        Drops the arrival entries of rows that have left the queue.
        """
        while True:
            key = self._by_arrival[0]
            index = bisect_left(self._by_length, key)
            if index < len(self._by_length) and self._by_length[index][1] == key[1]:
                return index
            self._by_arrival.popleft()

    def _window(self, oldest: int) -> tuple[int, int]:
        """Return the range of `_by_length` indexes to run in one batch with the oldest row.

        Longer rows are added first, within the limits of STRETCH and `max_tokens`. Then shorter rows are added, as long
        as each row raises the ratio of real tokens to cost. The cost of a batch is its padded size plus the fixed cost
        of a call.
        """
        entries = self._by_length
        end = bisect_right(entries, (int(entries[oldest][0] * STRETCH) + STRETCH_STEPS + 1,))
        end = min(end, oldest + self.max_rows)
        while end > oldest + 1 and (end - oldest) * entries[end - 1][0] > self.max_tokens:
            end -= 1
        start, steps = oldest, entries[end - 1][0]
        real = sum(entry[0] for entry in entries[start:end])
        while start > 0 and (rows := end - start) < self.max_rows and (rows + 1) * steps <= self.max_tokens:
            length = entries[start - 1][0]
            if length * (ROWS_OF_A_CALL + rows) <= real:
                break
            start, real = start - 1, real + length
        return start, end

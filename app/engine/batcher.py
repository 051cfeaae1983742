"""Which texts form the next batch. Plain Python: knows no tensor, no clock and no message.

Rows of one batch are padded to its longest, so texts of like length go together. Every batch holds the text that has
waited longest: so none starves, and the queue is never idle while something waits.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Payload = TypeVar("Payload")

# A call costs about as much as this many rows more than it has: weights are read, kernels started. (Measured with 64
# clients and texts of 5 to 150 tokens, on 4 x 256 Transformers and 2 x 256 LSTMs: 2 to 4 is best for both.)
ROWS_OF_A_CALL = 3
# Texts that much longer than the oldest may still set the batch's length.
STRETCH, STRETCH_STEPS = 1.1, 8


class Batcher(Generic[Payload]):
    """Texts by length. `max_tokens` bounds rows x longest (a text above it runs alone); `max_rows` bounds rows."""

    def __init__(self, max_tokens: int, max_rows: int = 512) -> None:
        self.max_tokens = max_tokens
        self.max_rows = max_rows
        self._arrivals = 0
        self._by_length: list[tuple[int, int, Payload]] = []
        self._by_arrival: deque[tuple[int, int]] = deque()  # (length, arrival)

    def __len__(self) -> int:
        return len(self._by_length)

    def add(self, length: int, payload: Payload) -> None:
        self._arrivals += 1  # unique, so that payloads are never compared
        insort(self._by_length, (length, self._arrivals, payload))
        self._by_arrival.append((length, self._arrivals))

    def discard(self, unwanted: Callable[[Payload], bool]) -> None:
        self._by_length = [entry for entry in self._by_length if not unwanted(entry[2])]

    def next_batch(self) -> list[Payload]:
        """Take the next batch out, shortest first; empty only where nothing waits."""
        if not self._by_length:
            self._by_arrival.clear()
            return []
        start, end = self._window(self._oldest())
        batch = [payload for _, _, payload in self._by_length[start:end]]
        del self._by_length[start:end]
        return batch

    def _oldest(self) -> int:
        """Index by length of the text that came first. Entries of texts that are gone are dropped on the way."""
        while True:
            key = self._by_arrival[0]
            index = bisect_left(self._by_length, key)
            if index < len(self._by_length) and self._by_length[index][1] == key[1]:
                return index
            self._by_arrival.popleft()

    def _window(self, oldest: int) -> tuple[int, int]:
        """The range of texts, by length, to run with the oldest."""
        texts = self._by_length
        end = bisect_right(texts, (int(texts[oldest][0] * STRETCH) + STRETCH_STEPS + 1,))
        end = min(end, oldest + self.max_rows)
        while end > oldest + 1 and (end - oldest) * texts[end - 1][0] > self.max_tokens:
            end -= 1
        start, steps = oldest, texts[end - 1][0]
        real = sum(entry[0] for entry in texts[start:end])
        while start > 0 and (rows := end - start) < self.max_rows and (rows + 1) * steps <= self.max_tokens:
            length = texts[start - 1][0]
            if length * (ROWS_OF_A_CALL + rows) <= real:  # real tokens a unit of work would fall
                break
            start, real = start - 1, real + length
        return start, end

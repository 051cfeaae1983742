"""Chooses the rows of the next batch if the waiting rows belong to several owners, who take turns. Imports no torch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Generic

from app.engine.batcher import Batcher, Payload


class TurnBatcher(Generic[Payload]):
    """One `Batcher` for each owner of waiting rows. A batch contains the batches of one or more owners.

    The owner that has waited longest is first. While an owner waits, every other owner gets at most one turn. Batches
    are joined until they have `enough` steps without padding, and only if the result respects `max_tokens` and
    `max_rows`, which have the same meaning as in a `Batcher`. If `dense` is true, at most half of the result may be
    padding.
    """

    def __init__(
        self, max_tokens: int, max_rows: int, enough: int, dense: bool,
        owner: Callable[[Payload], str], steps: Callable[[Payload], int],
    ) -> None:  # fmt: skip
        """`owner` and `steps` return the owner and the length of a row."""
        self.max_tokens, self.max_rows, self.enough, self.dense = max_tokens, max_rows, enough, dense
        self._owner, self._steps = owner, steps
        self._batchers: OrderedDict[str, Batcher[Payload]] = OrderedDict()  # in the order of their next turns

    def __len__(self) -> int:
        return sum(map(len, self._batchers.values()))

    def add(self, length: int, payload: Payload) -> None:
        """Add a row of `length` steps behind the other rows of its owner."""
        owner = self._owner(payload)
        if owner not in self._batchers:
            self._batchers[owner] = Batcher(self.max_tokens, self.max_rows)
        self._batchers[owner].add(length, payload)

    def discard(self, unwanted: Callable[[Payload], bool]) -> None:
        """Drop the rows for which `unwanted` is true."""
        for owner, batcher in list(self._batchers.items()):
            batcher.discard(unwanted)
            if not len(batcher):
                del self._batchers[owner]

    def next_batch(self) -> list[Payload]:
        """Remove and return the next batch. The batch is empty if no row is waiting."""
        batch, lengths = list[Payload](), list[int]()
        while self._batchers and sum(lengths) < self.enough:
            owner, batcher = next(iter(self._batchers.items()))
            part = batcher.next_batch(partial(self._can_join, lengths))
            if not part:
                break
            batch += part
            lengths += map(self._steps, part)
            self._batchers.move_to_end(owner)
            if not len(batcher):
                del self._batchers[owner]
        return batch

    def _can_join(self, lengths: list[int], more: list[int]) -> bool:
        """Whether rows with the lengths `more` can be added to a batch, or begin one."""
        if not lengths:
            return True
        count = len(lengths) + len(more)
        padded = count * max(*lengths, *more)
        fits = count <= self.max_rows and padded <= self.max_tokens
        return fits and not (self.dense and padded > 2 * (sum(lengths) + sum(more)))

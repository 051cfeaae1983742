"""A scorer for several versions with a common base, whose rows it computes in the same batches."""

from __future__ import annotations

from collections.abc import Sequence

from app.engine.batcher import Batcher
from app.engine.reply import Counters, Reply
from app.engine.row_outputs import Head, shared_outputs
from app.engine.scorer import RowQueue, Scorer, ScoringItem, steps_of
from app.engine.shared_base import SharedBase
from app.engine.turn_batcher import TurnBatcher
from models.config import ModelConfig

# Each adapter in a batch costs a fixed time for each matrix. In measurements with eight adapters, batches of this many
# steps in bfloat16 were 1.2 times as fast as the batches of other scorers, which have about a third as many.
MOST_STEPS = 2048


class SharedScorer(Scorer):
    """Answers the requests of its `members`. `config` is that of any of them, because rows have the same limits."""

    def __init__(
        self, base: SharedBase, head: Head, config: ModelConfig, batcher: Batcher[ScoringItem], reply: Reply,
        counters: Counters,
    ) -> None:  # fmt: skip
        super().__init__(None, config, batcher, reply, counters)
        self.base, self.head = base, head
        self.batcher, self._background = self._in_turn(self.batcher), self._in_turn(self._background)

    def _in_turn(self, batcher: RowQueue) -> RowQueue:
        """Return a queue with the limits of `batcher` in which the members take turns.

        If the network omits padding, as encoders do, the rows of a batch may have different lengths.
        """
        most, padded = batcher.max_tokens, self.base.language_model is not None
        enough = most if padded else min(MOST_STEPS, most // 2)
        return TurnBatcher(most, batcher.max_rows, max(1, enough), padded, _digest, lambda item: steps_of(item.row))

    def take(self) -> list[ScoringItem]:
        """Remove and return the next batch. The rows of each version are adjacent, shortest first."""
        return sorted(super().take(), key=lambda item: (_digest(item), steps_of(item.row)))

    def _compute(self, batch: Sequence[ScoringItem]) -> list[list[float]]:
        versions = [item.request.member.loaded for item in batch]
        return shared_outputs(self.base, self.head, versions, [item.row for item in batch])


def _digest(item: ScoringItem) -> str:
    return item.request.member.digest

"""A scorer for several versions with a common base, whose rows it computes in the same batches."""

from __future__ import annotations

from collections.abc import Sequence

from app.engine.batcher import Batcher
from app.engine.reply import Counters, Reply
from app.engine.row_outputs import Head, shared_outputs
from app.engine.scorer import Scorer, ScoringItem, steps_of
from app.engine.shared_base import SharedBase
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

    def take(self) -> list[ScoringItem]:
        """Remove and return the next batch. The rows of each version are adjacent, shortest first.

        If the network omits padding, as encoders do, the rows may have different lengths.
        """
        batch = super().take()
        if self.base.language_model is None:
            most = min(MOST_STEPS, self.batcher.max_tokens // 2)
            while len(self.batcher) and sum(steps_of(item.row) for item in batch) < most:
                batch += super().take()
        return sorted(batch, key=lambda item: (item.request.member.digest, steps_of(item.row)))

    def _compute(self, batch: Sequence[ScoringItem]) -> list[list[float]]:
        versions = [item.request.member.loaded for item in batch]
        return shared_outputs(self.base, self.head, versions, [item.row for item in batch])

"""Prepares a network's n-gram branch before the first step."""

from __future__ import annotations

from collections.abc import Callable

from app.tokenization.pieces import pieces
from app.tokenization.tokenizer import Tokenizer
from app.training.loop.batches import RowBatches
from app.training.prepare.dataset import Dataset, Rows
from models.ngrams import DocumentFrequencies, Ngrams
from models.tasks import TaskNetwork

MEASURED_ROWS = 200_000  # evenly spaced training rows; using more does not change the frequencies noticeably
_BATCH_TOKENS = 100_000


def bind_tokens(network: TaskNetwork, dataset: Dataset) -> Ngrams | None:
    """Pass the bytes of each token to the network's branch. Return the branch, or None if no branch reads bytes."""
    branch = getattr(network, "ngrams", None)
    if not isinstance(branch, Ngrams):  # the branch of a language model does not read bytes
        return None
    assert dataset.tokenizer is not None, "an n-gram branch requires text"
    branch.bind_tokens(pieces(Tokenizer.load(dataset.tokenizer)))
    return branch


def measure_frequencies(
    branch: Ngrams, dataset: Dataset, limit: int, check: Callable[[], None], most: int = MEASURED_ROWS
) -> None:
    """Set the branch's document frequencies to those in up to `most` training rows, each cut to `limit` tokens.

    `check` is called before each batch and may raise an exception.
    """
    assert isinstance(dataset.train, Rows)
    frequencies = DocumentFrequencies(branch)
    batches = RowBatches(dataset.train, 256, 0, limit=limit, micro_tokens=_BATCH_TOKENS, causal=False)
    for batch, _ in batches.in_order(most):
        check()
        frequencies.add(batch.inputs, batch.lengths_B)
    frequencies.apply()

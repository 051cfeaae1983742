"""Chooses the tokenizer of a training run: the base version's tokenizer, or a new one trained on the training rows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from app.tokenization import training
from app.tokenization.tokenizer import Tokenizer
from app.training import recipes
from app.training.base import BaseCheckpoint
from app.training.data.example import TRAIN, Example
from app.training.data.files import Source
from app.training.data.scan import DataFiles, Scan
from app.wire.trainer import TrainSpec
from app.wording import quantity

_BATCH = 512  # the number of rows in a batch
_TOKENIZER_CHARACTERS = 50_000_000  # more text than this does not improve a tokenizer


def iterate_batches(files: DataFiles, scan: Scan) -> Iterator[list[tuple[Example, int]]]:
    """Read the usable rows again. Yields batches of (example, final split) pairs."""
    rows = zip(files.examples(), map(int, scan.splits_N), strict=True)
    while batch := list(islice(rows, _BATCH)):
        yield batch


def tokenizer_for_rows(files: DataFiles, scan: Scan, spec: TrainSpec, base: BaseCheckpoint | None) -> Tokenizer:
    """Return the tokenizer for a table."""

    def train_texts() -> Iterator[str]:
        for batch in iterate_batches(files, scan):
            for example, split in batch:
                if split == TRAIN:
                    yield from filter(None, example.texts)

    train_N = scan.splits_N == TRAIN
    sizes = int(scan.lengths_N[train_N].sum()), int(scan.unspaced_N[train_N].sum(dtype=np.int64))
    return choose_tokenizer(train_texts(), sizes, files.training.source, spec, base, files.training.task)


def choose_tokenizer(
    texts: Iterator[str],
    sizes: tuple[int, int],
    source: Source,
    spec: TrainSpec,
    base: BaseCheckpoint | None,
    task: str,
) -> Tokenizer:
    """Return the base version's tokenizer or, without a base version, a new tokenizer trained on `texts`.

    `sizes` contains the number of characters in `texts`, and the number of those in scripts without spaces between
    words. Raises BadData if the base version expects numeric features.
    """
    if base is not None:
        if base.config.input != "tokens":
            raise source.fault(f"contains text, but the version to fine-tune expects {describe_input(base)}")
        return base.tokenizer()
    kind, vocab_size = recipes.tokenizer(task, *sizes, spec.training)
    if kind == "char" and spec.training.tokenizer is None:
        share = sizes[1] / max(1, sizes[0])
        message = (
            f"uses scripts without spaces between words for {share:.0%} of its characters, so each token is a character"
        )
        source.remark("tokenizer", f"{message}; for longer tokens, set the tokenizer to bpe")
    return training.train(_bounded(texts), kind, vocab_size)


def describe_input(base: BaseCheckpoint) -> str:
    """Describe the input that a base version expects, for an error message."""
    return "text" if base.config.input == "tokens" else f"{quantity(base.config.features, 'feature')} per step"


def end_ids(tokenizer: Tokenizer) -> list[int]:
    """Return a list that contains the id of the end token, or an empty list if the tokenizer has no end token."""
    return [] if tokenizer.eos_id is None else [tokenizer.eos_id]


def _bounded(texts: Iterator[str]) -> Iterator[str]:
    total = 0
    for text in texts:
        yield text
        total += len(text)
        if total > _TOKENIZER_CHARACTERS:
            return

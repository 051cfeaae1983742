"""Which tokenizer the texts get: one of their own, made of the train rows, or the base version's. Knows rows and
tokens; knows no targets."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from app.tokenization import training
from app.tokenization.tokenizer import Tokenizer
from app.training import recipes
from app.training.base import BaseCheckpoint
from app.training.data.columns import TRAIN, Example
from app.training.data.files import Source
from app.training.data.scan import DataFiles, Scan
from app.wire.trainer import TrainSpec

_BATCH = 512
_TOKENIZER_CHARACTERS = 50_000_000  # more text than this teaches a tokenizer nothing


def batches(files: DataFiles, found: Scan) -> Iterator[list[tuple[Example, int]]]:
    """The rows again, some at a time, each with its settled split."""
    rows = zip(files.examples(), map(int, found.splits_N), strict=True)
    while batch := list(islice(rows, _BATCH)):
        yield batch


def row_tokenizer(files: DataFiles, found: Scan, spec: TrainSpec, base: BaseCheckpoint | None) -> Tokenizer:
    def train_texts() -> Iterator[str]:
        for batch in batches(files, found):
            for example, split in batch:
                if split == TRAIN:
                    yield from filter(None, example.texts)

    characters = int(found.lengths_N[found.splits_N == TRAIN].sum())
    return tokenizer(train_texts(), characters, files.training.source, spec, base, files.training.task)


def tokenizer(
    texts: Iterator[str], characters: int, source: Source, spec: TrainSpec, base: BaseCheckpoint | None, task: str
) -> Tokenizer:
    """`texts` is read only where a tokenizer is made; `characters`: how many they are."""
    if base is not None:
        if base.config.input != "tokens":
            raise source.fault(f"holds texts, and the version to fine-tune takes {takes(base)}")
        return base.tokenizer()
    kind, vocab_size = recipes.tokenizer(task, characters, spec.training)
    return training.train(_bounded(texts), kind, vocab_size)


def takes(base: BaseCheckpoint) -> str:
    return "text" if base.config.input == "tokens" else f"{base.config.features} features a step"


def end(tokenizer: Tokenizer) -> list[int]:
    """The token that ends a text, where there is one."""
    return [] if tokenizer.eos_id is None else [tokenizer.eos_id]


def _bounded(texts: Iterator[str]) -> Iterator[str]:
    seen = 0
    for text in texts:
        yield text
        seen += len(text)
        if seen > _TOKENIZER_CHARACTERS:
            return

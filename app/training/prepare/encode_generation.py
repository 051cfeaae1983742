"""Texts to continue as tokens: documents, prompts with completions, conversations, one long text.

Every text ends with the tokenizer's end token. Knows tokens; knows no network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from app.tokenization.tokenizer import Tokenizer
from app.training.base import BaseCheckpoint
from app.training.data import text as data_text
from app.training.data.chat import TEMPLATE
from app.training.data.columns import NAMES, TRAIN, VALIDATION, Turn
from app.training.data.files import Source
from app.training.data.scan import DataFiles, Scan
from app.training.prepare import report
from app.training.prepare.dataset import TOKENIZER, Dataset, Facts, Rows, Stream, kept_part
from app.training.prepare.encode import prepared
from app.training.prepare.gathering import GatheredRows, GatheredStream
from app.training.prepare.tokenizing import batches, end, row_tokenizer
from app.training.prepare.tokenizing import tokenizer as tokenizer_for
from app.wire.trainer import TrainSpec

_CONTEXT_TOKENS = 512  # of the train text, before the held-out text: it is predicted as a continuation
_PIECES = 16  # of a text, at once


def documents(files: DataFiles, found: Scan, spec: TrainSpec, base: BaseCheckpoint | None, aside: Path) -> Dataset:
    """Texts one after the other, each ended by the end token."""
    tokenizer = row_tokenizer(files, found, spec, base)
    # The first held-out document begins where another ended, like all others.
    gathered = {code: GatheredStream(aside, NAMES[code], end(tokenizer) if code != TRAIN else ()) for code in NAMES}
    lengths: dict[int, Counter[int]] = {code: Counter() for code in NAMES}
    for batch in batches(files, found):
        for (example, split), ids in zip(batch, tokenizer.encode_batch([e.text for e, _ in batch]), strict=True):
            gathered[split].add([*ids, *end(tokenizer)])
            gathered[split].characters += len(example.text)
            lengths[split][len(ids)] += 1
    told = {
        "characters": {NAMES[code]: stream.characters for code, stream in gathered.items() if len(stream)},
        "length_histogram": _histogram(lengths, "tokens"),
    }
    tokenizer.save(aside / TOKENIZER)
    streams = {code: stream.stream() for code, stream in gathered.items()}
    return prepared(_facts("stream", tokenizer, report=told), streams, aside)


def completions(files: DataFiles, found: Scan, spec: TrainSpec, base: BaseCheckpoint | None, aside: Path) -> Dataset:
    """Prompts with completions, or conversations: what answers, and its end, is learned; the rest is given."""
    tokenizer = row_tokenizer(files, found, spec, base)
    gathered = {code: GatheredRows(aside, part) for code, part in NAMES.items()}
    for batch in batches(files, found):
        encoded = iter(tokenizer.encode_batch([text for example, _ in batch for text in example.texts]))
        for example, split in batch:
            ids, learned = _joined(tokenizer, [(turn, next(encoded)) for turn in example.turns])
            if len(ids) > 1:
                gathered[split].add(ids, learned)
                gathered[split].characters += sum(len(turn.text) for turn in example.turns if turn.learned)
    tokenizer.save(aside / TOKENIZER)
    parts = {code: rows.rows(np.zeros(0, dtype=np.int64)) for code, rows in gathered.items()}
    lengths = {NAMES[code]: report.lengths_of(rows) for code, rows in parts.items() if len(rows)}
    told = {"length_histogram": report.histogram(lengths, "tokens")}
    template = TEMPLATE if files.training.shape == "chat" else None
    return prepared(_facts("completions", tokenizer, report=told, chat_template=template), parts, aside)


def _joined(tokenizer: Tokenizer, turns: list[tuple[Turn, list[int]]]) -> tuple[list[int], list[int]]:
    """All turns as one row, and which of its tokens are to be learned."""
    ids: list[int] = []
    learned: list[int] = []
    for turn, piece in turns:
        if turn.learned and not ids:  # an empty prompt: it begins where another text has ended
            ids, learned = end(tokenizer), [0] * len(end(tokenizer))
        piece = [*piece, *(end(tokenizer) if turn.ended else ())]
        ids += piece
        learned += [int(turn.learned)] * len(piece)
    return ids, learned


def fitted(made: Dataset, limit: int) -> Dataset:
    """With the characters counted that are left of completions where a network reads `limit` tokens."""
    if made.facts.shape != "completions":
        return made
    assert made.tokenizer is not None
    tokenizer = Tokenizer.load(made.tokenizer)
    train, validation = _fitted(made.train, tokenizer, limit), _fitted(made.validation, tokenizer, limit)
    test = None if made.test is None else _fitted(made.test, tokenizer, limit)
    return replace(made, train=train, validation=validation, test=test)


def _fitted(rows: Rows | Stream, tokenizer: Tokenizer, limit: int) -> Rows:
    assert isinstance(rows, Rows)
    lost = 0
    for row in np.flatnonzero(rows.lengths_N > limit + 1):
        ids, learned = rows.row(int(row)), rows.answer(int(row)) > 0
        kept = kept_part(rows, int(row), limit)
        lost += len(tokenizer.decode(ids[learned].tolist())) - len(tokenizer.decode(ids[kept][learned[kept]].tolist()))
    return replace(rows, characters=rows.characters - lost)


def plain_text(
    source: Source, held_out: Source | None, spec: TrainSpec, base: BaseCheckpoint | None, aside: Path
) -> Dataset:
    """One long text. Without a text of its own for validation, the last part of its characters is held out."""
    total = data_text.length(source)
    cut = total if held_out is not None else total - round(total * spec.validation_split)
    rest = data_text.span(source, cut, total) if held_out is None else data_text.pieces(held_out)
    tokenizer = tokenizer_for(data_text.span(source, 0, cut), cut, source, spec, base, "generation")
    train = GatheredStream(aside, NAMES[TRAIN])
    tallies = {TRAIN: _encode(tokenizer, data_text.span(source, 0, cut), train)}
    train_stream = train.stream()
    context = end(tokenizer) if held_out is not None else train_stream.ids_T[-_CONTEXT_TOKENS:]
    validation = GatheredStream(aside, NAMES[VALIDATION], context)
    tallies[VALIDATION] = _encode(tokenizer, rest, validation)
    if len(train) < 2 or len(validation) < 2:
        blamed = source if held_out is None or len(train) < 2 else held_out
        raise blamed.fault(f"has {total:,} characters, too few to learn from and to hold some out")
    tokenizer.save(aside / TOKENIZER)
    told = {
        "characters": {NAMES[code]: tally.characters for code, tally in tallies.items()},
        "lines": {NAMES[code]: tally.lengths.total() for code, tally in tallies.items()},
        "distinct_characters": len(set().union(*(tally.alphabet for tally in tallies.values()))),
        "length_histogram": _histogram({code: tally.lengths for code, tally in tallies.items()}, "characters a line"),
    }
    streams = {TRAIN: train_stream, VALIDATION: validation.stream()}
    return prepared(_facts("stream", tokenizer, report=told), streams, aside)


class _Tally:
    """What is counted of a text on the way."""

    def __init__(self) -> None:
        self.characters = 0
        self.alphabet: set[str] = set()
        self.lengths: Counter[int] = Counter()  # of the lines
        self._open = 0  # the length of the line that has no end yet

    def take(self, piece: str) -> None:
        self.characters += len(piece)
        self.alphabet.update(piece)
        first, *others = piece.split("\n")
        self._open += len(first)
        for line in others:
            self.lengths[self._open] += 1
            self._open = len(line)

    def close(self) -> _Tally:
        if self._open:
            self.lengths[self._open] += 1
        return self


def _encode(tokenizer: Tokenizer, pieces: Iterator[str], stream: GatheredStream) -> _Tally:
    tally = _Tally()
    while batch := list(islice(pieces, _PIECES)):
        for piece, ids in zip(batch, tokenizer.encode_batch(batch), strict=True):
            tally.take(piece)
            stream.add(ids)
    stream.characters = tally.characters
    return tally.close()


def _facts(shape: str, tokenizer: Tokenizer, **more: Any) -> Facts:
    return Facts(
        "generation",
        "tokens",
        shape,
        vocab_size=tokenizer.vocab_size,
        tokenizer=tokenizer.kind,
        blank=tokenizer.blank_id,
        specials=tokenizer.special_ids,
        **more,
    )


def _histogram(lengths: dict[int, Counter[int]], unit: str) -> dict[str, Any]:
    found = {}
    for code, counter in lengths.items():
        if counter:
            values = np.asarray(sorted(counter), dtype=np.int64)
            found[NAMES[code]] = values, np.asarray([counter[int(v)] for v in values], dtype=np.int64)
    return report.histogram(found, unit)

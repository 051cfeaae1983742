"""Encodes texts for generation: documents, prompts with completions, conversations, or one long text.

Documents, completions and answers are followed by the tokenizer's end token.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from app.tokenization.chat import TEMPLATE
from app.tokenization.scripts import count_unspaced
from app.tokenization.tokenizer import Tokenizer
from app.training.base import BaseCheckpoint
from app.training.data import text as text_file
from app.training.data.example import SPLIT_NAMES, TEST, TRAIN, VALIDATION, Turn
from app.training.data.files import Source
from app.training.data.notes import NotedRows
from app.training.data.scan import DataFiles, Scan
from app.training.prepare import report
from app.training.prepare.dataset import TOKENIZER, Dataset, Facts, Rows, Stream, kept_part
from app.training.prepare.encode import assemble, remark_tokenless
from app.training.prepare.gathering import GatheredRows, GatheredStream
from app.training.prepare.tokenizing import choose_tokenizer, end_ids, iterate_batches, tokenizer_for_rows
from app.wire.trainer import TrainSpec
from app.wording import quantity

_CONTEXT_TOKENS = 512  # the number of tokens at the end of the training text that become context for the held-out text
_BATCH_PIECES = 16  # the number of pieces of a text to encode at once


def encode_documents(
    files: DataFiles, scan: Scan, spec: TrainSpec, base: BaseCheckpoint | None, staging: Path
) -> Dataset:
    """Encode texts as one stream per split. Each text is followed by the end token."""
    tokenizer = tokenizer_for_rows(files, scan, spec, base)
    # A network learns that documents begin after an end token, so the first held-out document is also preceded by one.
    gathered = {
        code: GatheredStream(staging, part, end_ids(tokenizer) if code != TRAIN else ())
        for code, part in SPLIT_NAMES.items()
    }
    lengths: dict[int, Counter[int]] = {code: Counter() for code in SPLIT_NAMES}
    for batch in iterate_batches(files, scan):
        encoded = tokenizer.encode_batch([example.text for example, _ in batch])
        for (example, split), ids in zip(batch, encoded, strict=True):
            gathered[split].add([*ids, *end_ids(tokenizer)])
            gathered[split].characters += len(example.text)
            lengths[split][len(ids)] += 1
    counts = {
        "characters": {SPLIT_NAMES[code]: stream.characters for code, stream in gathered.items() if len(stream)},
        "length_histogram": _histogram(lengths, "tokens"),
    }
    tokenizer.save(staging / TOKENIZER)
    streams = {code: stream.to_stream() for code, stream in gathered.items()}
    return assemble(_facts("stream", tokenizer, report=counts), streams, staging)


def encode_completions(
    files: DataFiles, scan: Scan, spec: TrainSpec, base: BaseCheckpoint | None, staging: Path
) -> Dataset:
    """Encode prompts with completions, or conversations.

    The loss is computed only over completions or answers, including their end tokens.
    """
    tokenizer = tokenizer_for_rows(files, scan, spec, base)
    gathered = {code: GatheredRows(staging, part) for code, part in SPLIT_NAMES.items()}
    dropped = NotedRows()
    for batch in iterate_batches(files, scan):
        encoded = iter(tokenizer.encode_batch([text for example, _ in batch for text in example.texts]))
        for example, split in batch:
            ids, learned = _join(tokenizer, [(turn, next(encoded)) for turn in example.turns])
            if len(ids) > 1:  # a single token has no preceding token to predict it from
                gathered[split].add(ids, learned)
                gathered[split].characters += sum(len(turn.text) for turn in example.turns if turn.learned)
            else:
                dropped.add(example.where)
    if dropped.count:
        verb = "is left out, because it has" if dropped.count == 1 else "are left out, because they have"
        remark_tokenless(files, f"{quantity(dropped.count, 'row')} {verb} fewer than two tokens", dropped)
    tokenizer.save(staging / TOKENIZER)
    parts = {code: rows.to_rows(np.zeros(0, dtype=np.int64)) for code, rows in gathered.items()}
    lengths = {SPLIT_NAMES[code]: report.lengths_of(rows) for code, rows in parts.items() if len(rows)}
    counts = {"length_histogram": report.histogram(lengths, "tokens")}
    template = TEMPLATE if files.training.shape == "chat" else None
    return assemble(_facts("completions", tokenizer, report=counts, chat_template=template), parts, staging)


def _join(tokenizer: Tokenizer, turns: list[tuple[Turn, list[int]]]) -> tuple[list[int], list[int]]:
    """Join all turns into one row. Returns the ids and a mask of the learned tokens."""
    ids: list[int] = []
    learned: list[int] = []
    for turn, turn_ids in turns:
        if turn.learned and not ids:  # without a prompt, the first token is predicted from an end token
            ids, learned = end_ids(tokenizer), [0] * len(end_ids(tokenizer))
        turn_ids = [*turn_ids, *(end_ids(tokenizer) if turn.ended else ())]
        ids += turn_ids
        learned += [int(turn.learned)] * len(turn_ids)
    return ids, learned


def recount_characters(dataset: Dataset, limit: int) -> Dataset:
    """Return the dataset with the number of `characters` that remain when completions are cut to `limit` tokens.

    Returns a dataset without completions unchanged, because its sequences are cut differently.
    """
    if dataset.facts.shape != "completions":
        return dataset
    assert dataset.tokenizer is not None
    tokenizer = Tokenizer.load(dataset.tokenizer)
    train, validation, test = (
        None if part is None else _recount(part, tokenizer, limit)
        for part in (dataset.train, dataset.validation, dataset.test)
    )
    assert train is not None and validation is not None
    return replace(dataset, train=train, validation=validation, test=test)


def _recount(rows: Rows | Stream, tokenizer: Tokenizer, limit: int) -> Rows:
    assert isinstance(rows, Rows)
    lost = 0
    for row in np.flatnonzero(rows.lengths_N > limit + 1):
        ids, learned = rows.row(int(row)), rows.answer(int(row)) > 0
        kept = kept_part(rows, int(row), limit)
        lost += len(tokenizer.decode(ids[learned].tolist())) - len(tokenizer.decode(ids[kept][learned[kept]].tolist()))
    return replace(rows, characters=rows.characters - lost)


def encode_plain_text(
    source: Source, held_out: Source | None, spec: TrainSpec, base: BaseCheckpoint | None, staging: Path
) -> Dataset:
    """Encode one long text. If there is no validation file (`held_out`), the last part of the text is held out."""
    total = text_file.length(source)
    cut = total if held_out is not None else total - round(total * spec.validation_split)
    held_out_pieces = text_file.span(source, cut, total) if held_out is None else text_file.pieces(held_out)
    unspaced = sum(map(count_unspaced, text_file.span(source, 0, cut)))
    tokenizer = choose_tokenizer(text_file.span(source, 0, cut), (cut, unspaced), source, spec, base, "generation")
    train = GatheredStream(staging, SPLIT_NAMES[TRAIN])
    tallies = {TRAIN: _encode(tokenizer, text_file.span(source, 0, cut), train)}
    train_stream = train.to_stream()
    context = end_ids(tokenizer) if held_out is not None else train_stream.ids_T[-_CONTEXT_TOKENS:]
    validation = GatheredStream(staging, SPLIT_NAMES[VALIDATION], context)
    tallies[VALIDATION] = _encode(tokenizer, held_out_pieces, validation)
    if len(train) < 2 or len(validation) < 2:
        too_short, characters = source, total
        if held_out is not None and len(train) >= 2:
            too_short, characters = held_out, validation.characters
        raise too_short.fault(f"has {characters:,} characters, too few for training and validation")
    tokenizer.save(staging / TOKENIZER)
    streams = {TRAIN: train_stream, VALIDATION: validation.to_stream()}
    return assemble(_facts("stream", tokenizer, report=_text_report(tallies)), streams, staging)


def encode_whole_text(source: Source, base: BaseCheckpoint, staging: Path) -> Dataset:
    """Encode one long text with the base version's tokenizer. The whole text becomes test data."""
    tokenizer = base.tokenizer()
    held_out = GatheredStream(staging, SPLIT_NAMES[TEST], end_ids(tokenizer))
    tallies = {TEST: _encode(tokenizer, text_file.pieces(source), held_out)}
    if len(held_out) < 2:
        raise source.fault(f"has {held_out.characters:,} characters, too few to evaluate on")
    tokenizer.save(staging / TOKENIZER)
    streams = {code: GatheredStream(staging, SPLIT_NAMES[code]).to_stream() for code in (TRAIN, VALIDATION)}
    streams[TEST] = held_out.to_stream()
    return assemble(_facts("stream", tokenizer, report=_text_report(tallies)), streams, staging)


class _Tally:
    """Counts the characters and lines of a text, piece by piece."""

    def __init__(self) -> None:
        self.characters = 0
        self.alphabet: set[str] = set()
        self.lengths: Counter[int] = Counter()  # the number of lines of each length
        self.sha256 = hashlib.sha256()
        self._open = 0  # how many characters of the current line have been read

    def add(self, piece: str) -> None:
        self.characters += len(piece)
        self.alphabet.update(piece)
        self.sha256.update(piece.encode("utf-8", "surrogatepass"))
        first, *others = piece.split("\n")
        self._open += len(first)
        for line in others:
            self.lengths[self._open] += 1
            self._open = len(line)

    def close(self) -> _Tally:
        """Count the last line, which may lack a line break."""
        if self._open:
            self.lengths[self._open] += 1
        return self


def _encode(tokenizer: Tokenizer, pieces: Iterator[str], stream: GatheredStream) -> _Tally:
    tally = _Tally()
    while batch := list(islice(pieces, _BATCH_PIECES)):
        for piece, ids in zip(batch, tokenizer.encode_batch(batch), strict=True):
            tally.add(piece)
            stream.add(ids)
    stream.characters = tally.characters
    return tally.close()


def _text_report(tallies: dict[int, _Tally]) -> dict[str, Any]:
    return {
        "characters": {SPLIT_NAMES[code]: tally.characters for code, tally in tallies.items()},
        "sha256": {SPLIT_NAMES[code]: tally.sha256.hexdigest() for code, tally in tallies.items()},
        "lines": {SPLIT_NAMES[code]: tally.lengths.total() for code, tally in tallies.items()},
        "distinct_characters": len(set().union(*(tally.alphabet for tally in tallies.values()))),
        "length_histogram": _histogram({code: tally.lengths for code, tally in tallies.items()}, "characters per line"),
    }


def _facts(shape: str, tokenizer: Tokenizer, **more: Any) -> Facts:
    return Facts(
        "generation",
        "tokens",
        shape,
        vocab_size=tokenizer.vocab_size,
        tokenizer=tokenizer.kind,
        blank=tokenizer.blank_id,
        specials=tokenizer.special_ids,
        eos_token=tokenizer.named_end,
        **more,
    )


def _histogram(lengths: dict[int, Counter[int]], unit: str) -> dict[str, Any]:
    sorted_lengths = {}
    for code, counter in lengths.items():
        if counter:
            values = np.asarray(sorted(counter), dtype=np.int64)
            sorted_lengths[SPLIT_NAMES[code]] = values, np.asarray([counter[int(v)] for v in values], dtype=np.int64)
    return report.histogram(sorted_lengths, unit)

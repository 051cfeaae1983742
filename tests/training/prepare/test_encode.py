"""Rows whose texts the tokenizer converts to zero tokens are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.tokenization.tokenizer import Tokenizer
from app.training.prepare import encode_generation
from app.wire.trainer import TrainFailed
from tests.training import runs

SMALL = {"width": 16, "layers": 1, "max_steps": 2, "batch_size": 16}


def skip_texts(monkeypatch: pytest.MonkeyPatch, beginning: str) -> None:
    """Let the tokenizer return zero tokens for texts with this beginning, as tokenizers of imported versions may."""
    encode = Tokenizer.encode_batch
    monkeypatch.setattr(
        Tokenizer,
        "encode_batch",
        lambda self, texts: [
            [] if text.startswith(beginning) else ids
            for text, ids in zip(texts, encode(self, list(texts)), strict=True)
        ],
    )


def test_a_text_without_tokens_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_texts(monkeypatch, "skip")
    content = runs.table(40) + "skip a,good\nskip b,bad\n"
    report, _ = runs.notes(runs.train(runs.make(tmp_path, "a.csv", content, training=SMALL)))
    [message] = [remark["message"] for remark in report["remarks"] if remark["kind"] == "no_tokens"]
    assert message == (
        "a.csv, line 42: 2 rows have texts in which the tokenizer finds no tokens; each is read as one placeholder "
        "token"
    )


def test_a_completion_without_tokens_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_texts(monkeypatch, "skip")
    monkeypatch.setattr(encode_generation, "end_ids", lambda tokenizer: [])
    rows = [f'{{"prompt": "", "completion": "{text}"}}\n' for text, _ in runs.sentences(40)]
    content = "".join([*rows, '{"prompt": "", "completion": "skip"}\n'])
    report, _ = runs.notes(runs.train(runs.make(tmp_path, "a.jsonl", content, "transformer", training=SMALL)))
    [message] = [remark["message"] for remark in report["remarks"] if remark["kind"] == "no_tokens"]
    assert message == "a.jsonl, line 41: 1 row is left out, because it has fewer than two tokens"


def test_an_error_about_a_short_validation_file_has_its_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_texts(monkeypatch, "skip")
    monkeypatch.setattr(encode_generation, "end_ids", lambda tokenizer: [])
    run = runs.make(tmp_path, "a.txt", runs.book(100), validation=("v.txt", "skip this"), training=SMALL)
    last = runs.train(run)[-1]
    assert isinstance(last, TrainFailed)
    assert last.message == "v.txt has 9 characters, too few for training and validation"

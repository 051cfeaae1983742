"""Tokenizers from vocabularies of other programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.importing.questions import Answers
from app.importing.vocabulary import VocabularyInvalid, tokenizer_of


def test_a_vocabulary_of_characters(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps(["<unk>", "a", "b", " ", "\n"]))
    tokenizer = tokenizer_of(path, 5, Answers({"split": "characters", "lowercase": "yes"}))
    assert tokenizer.encode("Ab\n c") == [1, 2, 4, 3, 0]
    assert tokenizer.decode([1, 2, 4, 3]) == "ab\n "


def test_one_word_on_each_line(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.txt"
    path.write_bytes("<unk>\r\na\u2028b\r\nc\r\n".encode())
    assert tokenizer_of(path, 3, Answers({"split": "characters", "lowercase": "no"})).vocab_size == 3
    path.write_bytes(b"")
    with pytest.raises(VocabularyInvalid, match="one word on each line"):
        tokenizer_of(path, 3, Answers({}))

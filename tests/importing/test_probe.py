"""The inputs with which users compare a version with their original program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from app.errors import InvalidRequest
from app.importing.probe import make_probe, read_inputs
from app.importing.questions import Answers
from app.importing.splitting import SPLITS
from app.importing.vocabulary import tokenizer_from
from app.tokenization.training import train
from models.config import ModelConfig

NUMBERS = ModelConfig(architecture="lstm", task="regression", input="features", features=3, classes=1)
TEXT = ModelConfig(architecture="lstm", task="classification", vocab_size=300, classes=2)


def test_numbers_are_made_as_the_description_says(tmp_path: Path) -> None:
    probe = make_probe(tmp_path, NUMBERS)
    assert probe.description == "torch.arange(15).reshape(1, 5, 3) % 10 / 10"
    torch.testing.assert_close(torch.tensor([probe.input]), torch.arange(15).reshape(1, 5, 3) % 10 / 10)


@pytest.mark.parametrize("given", ["[[1, 2, 3]]", "file.json"])
def test_numbers_of_the_user(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file.json").write_text("[[1, 2, 3]]")
    assert make_probe(tmp_path, NUMBERS, given).input == [[1, 2, 3]]


@pytest.mark.parametrize("given", ["[[1, 2]]", "[1, 2, 3]", "[", "nowhere.json", "7"])
def test_other_shapes_are_refused(given: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="--probe"):
        make_probe(tmp_path, NUMBERS, given)


def test_a_text_has_words_of_the_vocabulary(tmp_path: Path) -> None:
    words = ["<pad>", "<unk>", "7", "the", "film", "was", "good", "and", "long"]
    answers = Answers({"split": "whitespace", "lowercase": "no"})
    tokenizer_from(words, "words", len(words), answers).save(tmp_path)
    probe = make_probe(tmp_path, TEXT)
    assert probe.input == "The film, was zyx good; and!?"
    assert probe.description == (
        "the text 'The film, was zyx good; and!?' (tokens ['<unk>', '<unk>', 'was', '<unk>', '<unk>', '<unk>'], "
        "token ids [1, 1, 5, 1, 1, 1])"
    )
    assert make_probe(tmp_path, TEXT, "long film").description.endswith("(tokens ['long', 'film'], token ids [8, 4])")


@pytest.mark.parametrize("marks", [[], [",", ";", "!", "?"]])
def test_every_wrong_answer_about_the_splitting_shows_in_the_tokens(marks: list[str], tmp_path: Path) -> None:
    words = ["<pad>", "<unk>", "the", "film", "was", "good", "and", *marks]
    descriptions = set()
    ways = [(split, lowercase) for split in SPLITS for lowercase in ("no", "yes") if split != "characters"]
    for split, lowercase in ways:
        answers = Answers({"split": split} | ({} if split == "basic_english" else {"lowercase": lowercase}))
        tokenizer_from(words, "words", len(words), answers).save(tmp_path)
        descriptions.add(make_probe(tmp_path, TEXT).description)
    assert len(descriptions) == len(ways) - 1  # basic_english always lowercases


def test_a_text_has_only_what_the_vocabulary_allows(tmp_path: Path) -> None:
    answers = Answers({"split": "words_and_marks", "lowercase": "yes", "unknown": "none"})
    tokenizer_from(["the", "film", ","], "words", 3, answers).save(tmp_path)
    assert make_probe(tmp_path, TEXT).input == "The film,"


def test_a_text_for_characters_and_bytes(tmp_path: Path) -> None:
    answers = Answers({"split": "characters", "lowercase": "no"})
    tokenizer_from(list(" abc"), "words", 4, Answers(dict(answers._answers) | {"unknown": "skip"})).save(tmp_path)
    assert make_probe(tmp_path, TEXT).input == "Abc ~,;!?"
    train([], "byte").save(tmp_path)
    assert json.dumps(make_probe(tmp_path, TEXT).input)


def test_a_text_without_letters(tmp_path: Path) -> None:
    answers = Answers({"split": "whitespace", "lowercase": "no", "unknown": "none"})
    tokenizer_from(["1", "22", "333"], "words", 3, answers).save(tmp_path)
    assert make_probe(tmp_path, TEXT).description == (
        "the text '1 22 333' (tokens ['1', '22', '333'], token ids [0, 1, 2])"
    )
    with pytest.raises(InvalidRequest, match="--probe: 'a' is not in this version's vocabulary"):
        make_probe(tmp_path, TEXT, "a 1")


def test_the_first_input_of_a_file_is_the_probe(tmp_path: Path) -> None:
    words = ["<pad>", "<unk>", "the", "film", "was", "good"]
    answers = Answers({"split": "whitespace", "lowercase": "no"})
    tokenizer_from(words, "words", len(words), answers).save(tmp_path)
    (tmp_path / "lines").write_text("good film\nthe film")
    assert make_probe(tmp_path, TEXT, str(tmp_path / "lines")).input == "good film"
    (tmp_path / "numbers").write_text("[[[1, 2, 3]], [[4, 5, 6]]]")
    assert make_probe(tmp_path, NUMBERS, str(tmp_path / "numbers")).input == [[1, 2, 3]]
    assert len(read_inputs(str(tmp_path / "numbers")) or []) == 2
    with pytest.raises(InvalidRequest, match="reads texts"):
        make_probe(tmp_path, TEXT, str(tmp_path / "numbers"))
    assert read_inputs("a text that is not the name of a file") is None and read_inputs("x" * 5000) is None

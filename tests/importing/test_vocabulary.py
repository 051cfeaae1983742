"""Tokenizers from vocabularies of other programs."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from app.errors import InvalidRequest
from app.importing.contradictions import VocabularyInvalid
from app.importing.questions import Answers
from app.importing.vocabulary import tokenizer_from, tokenizer_of
from app.tokenization.tokenizer import Tokenizer
from app.tokenization.training import train

PLAIN = {"split": "whitespace", "lowercase": "no"}
WORDS = ["the", "film", "was", "good"]


def tokenizer(value: Any, rows: int, **answers: str) -> Tokenizer:
    given = Answers(PLAIN | answers)
    made = tokenizer_from(value, "words", rows, given)
    given.settle()
    return made


def test_a_vocabulary_of_characters(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps(["<unk>", "a", "b", " ", "\n"]))
    tokenizer = tokenizer_of(path, 5, Answers({"split": "characters", "lowercase": "yes"}))
    assert tokenizer.encode("Ab\n c") == [1, 2, 4, 3, 0]
    assert tokenizer.decode([1, 2, 4, 3]) == "ab\n "


def test_one_word_on_each_line(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.txt"
    path.write_bytes("\ufeff<unk>\r\na\u2028b\r\nc\r\n".encode())
    made = tokenizer_of(path, 3, Answers({"split": "characters", "lowercase": "no"}))
    assert made.vocab_size == 3
    path.write_bytes(b"")
    with pytest.raises(VocabularyInvalid, match="one word on each line"):
        tokenizer_of(path, 3, Answers({}))


@pytest.mark.parametrize("value", [WORDS, dict(zip(WORDS, range(4), strict=True)), dict(enumerate(WORDS))], ids=str)
@pytest.mark.parametrize(("first", "ids"), [("0", [0, 1, 3]), ("1", [1, 2, 4]), ("2", [2, 3, 5])])
def test_a_list_shorter_than_the_embedding_needs_the_id_of_its_first_word(
    value: Any, first: str, ids: list[int]
) -> None:
    """Programs reserve the first rows of an embedding for padding and unknown words."""
    answers = Answers(PLAIN | {"unknown": "skip"})
    tokenizer_from(value, "words", 6, answers)
    assert [question.field for question in answers.open] == ["first_id"]
    assert "what is the id of the first word, 'the'? 0 to 2" in str(answers.open[0])
    assert tokenizer(value, 6, unknown="skip", first_id=first).encode("the film good") == ids


@pytest.mark.parametrize("first", ["3", "-1", "the", "1.5"])
def test_an_impossible_first_id_is_refused(first: str) -> None:
    with pytest.raises(VocabularyInvalid, match="from 0 to 2"):
        tokenizer(WORDS, 6, unknown="skip", first_id=first)


def test_answers_that_the_vocabulary_does_not_need_must_agree_with_it() -> None:
    """The suggested command contains all answers that any vocabulary may need, so unnecessary answers are checked."""
    assert tokenizer(WORDS, 4, unknown="skip", first_id="0", around="none").encode("the good") == [0, 3]
    counted = {word: number for number, word in enumerate([*WORDS, "<unk>"], 1)}
    assert tokenizer(counted, 6, unknown="<unk>", first_id="1").encode("the good") == [1, 4]
    with pytest.raises(VocabularyInvalid, match="first_id=1: must be 0 or left out, because the file determines"):
        tokenizer(WORDS, 4, unknown="skip", first_id="1")
    with pytest.raises(VocabularyInvalid, match="around=<s> …: must be none or left out"):
        tokenizer(WORDS, 4, unknown="skip", around="<s> …")


@pytest.mark.parametrize("name", ["vocabulary", "words.txt", "pipe"])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("value", [WORDS, dict(zip(WORDS, range(4), strict=True)), ["[PAD]", "{", "a", "b"]])
def test_json_is_recognised_without_its_suffix(value: Any, indent: int | None, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(json.dumps(value, indent=indent))
    answers = Answers(PLAIN | {"unknown": "skip"})
    words = [word for word in value if word != "[PAD]"]
    assert tokenizer_of(path, 4, answers).encode(" ".join(words)) == [list(value).index(word) for word in words]
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(value))
    assert tokenizer_of(lines, 4, answers).encode(" ".join(words)) == [list(value).index(word) for word in words]


def test_damaged_json_is_not_read_as_a_word(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary"
    path.write_text(json.dumps(WORDS)[:-1])
    with pytest.raises(VocabularyInvalid, match="vocabulary is not valid JSON"):
        tokenizer_of(path, 4, Answers(PLAIN | {"unknown": "skip"}))


def test_rows_without_words_are_noted(tmp_path: Path) -> None:
    answers = Answers(PLAIN | {"unknown": "0"})
    made = tokenizer_from({word: number for number, word in enumerate(WORDS, 1)}, "words", 8, answers)
    assert answers.assumed[:2] == [
        "first_id=1: the file determines the ids of all words",
        "unused_rows=3: the last rows of the embedding have no word in words",
    ]
    assert made.encode("the bad film") == [1, 0, 2]
    train([], "byte").save(tmp_path / "tokenizer.json")
    answers = Answers({})
    tokenizer_of(tmp_path / "tokenizer.json", 300, answers)
    assert answers.assumed == ["unused_rows=41: the last rows of the embedding have no word in tokenizer.json"]
    with pytest.raises(VocabularyInvalid, match="only 200 rows"):
        tokenizer_of(tmp_path / "tokenizer.json", 200, Answers({}))


@pytest.mark.parametrize(
    ("unknown", "ids"),
    [("the", [0, 0, 3]), ("2", [0, 2, 3]), ("4", [0, 4, 3]), ("skip", [0, 3]), ("none", None)],
)
def test_words_that_are_not_in_the_vocabulary(unknown: str, ids: list[int] | None) -> None:
    made = tokenizer(dict(zip(WORDS, range(4), strict=True)), 5, unknown=unknown, first_id="0")
    again = Tokenizer(made._definition)
    for each in (made, again):
        if ids is None:
            with pytest.raises(InvalidRequest, match="'awful' is not in this version's vocabulary"):
                each.encode("the awful good")
            assert each.encode("the good") == [0, 3]
        else:
            assert each.encode("the awful good") == ids
            assert each.encode_within(9, "right", "the awful good") == ids
    assert made.encode_within(1, "right", "the good") == [0]


@pytest.mark.parametrize("name", ["<unk>", "<UNK>", "[UNK]", "UNK", "<oov>", "<OOV>"])
def test_the_unknown_word_is_found_by_its_name_and_noted(name: str) -> None:
    answers = Answers(PLAIN)
    made = tokenizer_from([*WORDS, name], "words", 5, answers)
    answers.settle()
    assert made.encode("the dull film") == [0, 4, 1]
    assert any(line.startswith(f"unknown={name}: its name suggests") for line in answers.assumed)


@pytest.mark.parametrize("unknown", ["dull", "9", "-1"])
def test_an_unknown_word_that_does_not_exist_is_refused(unknown: str) -> None:
    with pytest.raises(VocabularyInvalid, match=f"unknown={unknown}: this is neither a word .* nor an id below 4; "):
        tokenizer(WORDS, 4, unknown=unknown)


@pytest.mark.parametrize(
    ("around", "ids"),
    [("none", [4, 5]), ("<sos> …", [1, 4, 5]), ("<sos> ... <eos>", [1, 4, 5, 2]), ("… <eos> <eos>", [4, 5, 2, 2])],
)
def test_tokens_around_each_text(around: str, ids: list[int]) -> None:
    words = ["<pad>", "<sos>", "<eos>", "<unk>", "a", "b"]
    answers = Answers(PLAIN)
    tokenizer_from(words, "words", 6, answers)
    assert [question.field for question in answers.open] == ["around"]
    made = tokenizer(words, 6, around=around)
    assert made.encode("a b") == ids
    unknown = made.encode("a <eos> b")  # the name of a special token in a text is an unknown word
    assert [i for i in unknown if i > 2] == [4, 3, 5] and unknown.count(2) == ids.count(2)


@pytest.mark.parametrize("around", ["<sos>", "<bos> …", "…", "yes"])
def test_an_impossible_frame_is_refused(around: str) -> None:
    with pytest.raises(VocabularyInvalid, match=f"around={around}"):
        tokenizer(["<sos>", "<unk>", "a"], 3, around=around)


def test_skipping_works_with_tokens_around_and_pairs() -> None:
    made = tokenizer(["<sos>", "<eos>", "a", "b"], 4, around="<sos> … <eos>", unknown="skip")
    assert made.encode("a x b") == [0, 2, 3, 1]
    assert made.encode_pair("a x", "y b") == [0, 2, 3, 1]


@pytest.mark.parametrize("separator", ["\t", " ", ","])
def test_a_word_and_its_id_on_each_line(separator: str, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.txt"
    path.write_text("".join(f"{word}{separator}{3 - number}\n" for number, word in enumerate(WORDS)))
    made = tokenizer_of(path, 4, Answers(PLAIN | {"unknown": "none"}))
    assert made.encode("the film was good") == [3, 2, 1, 0]


@pytest.mark.parametrize("text", ["the 901\nfilm 17\nwas 5\n", "the 1\nthe 0\n", "a 0\nb 2\n"])
def test_words_with_their_counts_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.txt"
    path.write_text(text)
    with pytest.raises(VocabularyInvalid, match="the numbers are not ids"):
        tokenizer_of(path, 3, Answers(PLAIN | {"unknown": "none"}))


@pytest.mark.parametrize(
    ("words", "answers", "lost"),
    [
        (["good", "bad", "New York"], {}, "'New York'"),
        (["good", "bad", "Paris"], {"lowercase": "yes"}, "'Paris'"),
        (["good", "bad", "don't"], {"split": "words"}, '"don\'t"'),
    ],
)
@pytest.mark.parametrize("unknown", ["skip", "none", "0"])
def test_words_that_no_text_becomes_are_noted(
    words: list[str], answers: dict[str, str], lost: str, unknown: str
) -> None:
    given = Answers(PLAIN | {"unknown": unknown} | answers)
    tokenizer_from(words, "words", 3, given)
    assert given.assumed[-1].startswith(
        f"unreachable=1: splitting a text never produces 1 word of the vocabulary, such as {lost};"
    )


@pytest.mark.parametrize("answers", [{"split": "characters"}, {"lowercase": "yes"}, {"split": "words"}])
def test_a_vocabulary_that_does_not_fit_its_split_is_refused(answers: dict[str, str]) -> None:
    with pytest.raises(VocabularyInvalid, match="split or lowercased in another way"):
        tokenizer(["Good-bye", "Well-known", "ok"], 3, unknown="skip", **answers)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["[UNK]", "play", "##ing", "##ed", "the"], "WordPiece"),
        (["<unk>", "Ġthe", "Ġfilm", "ing"], "byte-level BPE"),
        (["<unk>", "▁the", "▁film", "s"], "SentencePiece"),
    ],
)
def test_vocabularies_of_parts_of_words_are_refused(words: list[str], kind: str) -> None:
    with pytest.raises(VocabularyInvalid, match=f"{kind}.*tokenizer.json"):
        tokenizer(words, len(words))


def test_a_vocabulary_that_cannot_be_read_is_named_in_plain_words(tmp_path: Path) -> None:
    missing, latin = tmp_path / "nope.json", tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9")
    pickled, saved = tmp_path / "vocab.pkl", tmp_path / "vocab.pt"
    pickled.write_bytes(pickle.dumps({"a": 0}))
    torch.save({"a": 0}, saved)
    for path, message in (
        (missing, f"cannot read {missing}: No such file or directory"),
        (latin, f"{latin} is not UTF-8 text; save it as UTF-8"),
    ):
        with pytest.raises(VocabularyInvalid) as caught:
            tokenizer_of(path, 10, Answers({}))
        assert caught.value.message == message
    for path in (pickled, saved):
        with pytest.raises(VocabularyInvalid, match=f"{path.name} is a pickle.*save the vocabulary as JSON"):
            tokenizer_of(path, 10, Answers({}))

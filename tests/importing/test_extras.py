"""Vocabularies, labels and state dicts are found under the usual keys, and all other entries are reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from app.errors import InvalidRequest
from app.importing.extras import label_names
from app.importing.pytorch.tensors import ForeignFileInvalid
from app.importing.questions import ImportQuestion
from app.tokenization.tokenizer import Tokenizer
from tests.importing.programs import WORDS, Program, assert_equal, bring, ids, numbers

NUMBERED = {word: number for number, word in enumerate(WORDS)}
TEXT = {"pooling": "last", "lowercase": "no", "split": "whitespace"}


def text_program() -> Program:
    torch.manual_seed(0)
    return Program(
        lambda m, x: m.fc(m.lstm(m.emb(x))[0][:, -1]),
        emb=nn.Embedding(30, 4), lstm=nn.LSTM(4, 6, batch_first=True), fc=nn.Linear(6, 3),
    )  # fmt: skip


def numeric_program() -> Program:
    torch.manual_seed(0)
    parts = {"lstm": nn.LSTM(4, 6, batch_first=True), "fc": nn.Linear(6, 3)}
    return Program(lambda m, x: m.fc(m.lstm(x)[0][:, -1]), **parts)


def optimizer(program: nn.Module) -> dict[str, Any]:
    """The state of an optimizer after one step. It contains tensors that are not weights."""
    made = torch.optim.Adam(program.parameters())
    made.zero_grad()
    program(torch.zeros(1, 3, 4)).sum().backward()
    made.step()
    return made.state_dict()


@pytest.mark.parametrize("key", ["model_state_dict", "state_dict", "model", "net", "network", "weights", "lstm_model"])
def test_a_state_dict_under_any_key(key: str, tmp_path: Path) -> None:
    program = numeric_program()
    saved = {"epoch": 3, "optimizer_state_dict": optimizer(program), key: program.state_dict(), "loss": 0.5}
    converted = bring(saved, tmp_path, labels=["a", "b", "c"], answers={"pooling": "last"})
    assert_equal(program, tmp_path, numbers())
    assert not any(line.startswith("ignored") for line in converted.assumed)


def test_a_state_dict_two_keys_deep(tmp_path: Path) -> None:
    program = numeric_program()
    saved = {"checkpoint": {"model": program.state_dict(), "optimizer": optimizer(program)}, "mean": [0.0]}
    converted = bring(saved, tmp_path, labels=["a", "b", "c"], answers={"pooling": "last"})
    assert_equal(program, tmp_path, numbers())
    assert "ignored=mean: the import ignores these entries of the file" in converted.assumed


def test_of_two_state_dicts_one_is_asked_for(tmp_path: Path) -> None:
    program, average = numeric_program(), numeric_program()
    with torch.no_grad():
        average.fc.bias += 1.0
    saved = {"model": program.state_dict(), "ema": average.state_dict()}
    with pytest.raises(ImportQuestion, match=r"weights: which of these .* usual entry is model"):
        bring(saved, tmp_path, labels=["a", "b", "c"], answers={"pooling": "last"})
    bring(saved, tmp_path, labels=["a", "b", "c"], answers={"pooling": "last", "weights": "ema"})
    assert_equal(average, tmp_path, numbers())


@pytest.mark.parametrize(
    ("vocabulary", "classes"),
    [
        ({"vocab": {word: i for i, word in enumerate(WORDS)}}, {"classes": ["a", "b", "c"]}),
        ({"word2idx": {word: i for i, word in enumerate(WORDS)}}, {"id2label": {0: "a", 1: "b", 2: "c"}}),
        ({"itos": WORDS}, {"class_to_idx": {"c": 2, "a": 0, "b": 1}}),
        ({"Vocabulary": dict(enumerate(WORDS))}, {"label_names": ["a", "b", "c"]}),
    ],
    ids=lambda value: next(iter(value)),
)
def test_vocabulary_and_labels_in_the_file(vocabulary: Any, classes: Any, tmp_path: Path) -> None:
    program = text_program()
    saved = {"net": program.state_dict(), "hidden_size": 6, **vocabulary, **classes}
    assumed = bring(saved, tmp_path, answers=TEXT).assumed
    assert_equal(program, tmp_path, ids())
    assert json.loads((tmp_path / "out" / "labels.json").read_text()) == ["a", "b", "c"]
    assert Tokenizer.load(tmp_path / "out").encode("w3 new w0") == [5, 1, 2]
    for field, entry in (("labels", classes), ("vocabulary", vocabulary)):
        assert f"{field}={next(iter(entry))}: taken from the file's entry with this name" in assumed
    assert "ignored=hidden_size: the import ignores these entries of the file" in assumed


def test_what_the_user_says_goes_first(tmp_path: Path) -> None:
    saved = {"net": text_program().state_dict(), "vocab": ["wrong"], "classes": ["x", "y", "z"]}
    (tmp_path / "words.json").write_text(json.dumps(WORDS))
    assumed = bring(
        saved, tmp_path, answers=TEXT, labels=["a", "b", "c"], vocabulary=tmp_path / "words.json"
    ).assumed  # fmt: skip
    assert json.loads((tmp_path / "out" / "labels.json").read_text()) == ["a", "b", "c"]
    assert "ignored=vocab,classes: the import ignores these entries of the file" in assumed


def test_entries_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    state = text_program().state_dict()
    for extras, named in (
        ({"classes": ["a", "b"]}, "has 3 outputs, so it requires 3 labels; 2 labels are given"),
        ({"classes": ["a", "b", "a"]}, "the label 'a' is given more than once"),
        ({"vocab": WORDS * 2}, f"vocab contains the word '{WORDS[0]}' twice, as entries 1 and {len(WORDS) + 1}"),
        ({"vocab": {"a": 0, "b": 1, "c": 0}}, "vocab gives the id 0 to two words, 'a' and 'c'"),
    ):
        with pytest.raises(InvalidRequest, match=named):
            bring({"net": state, "classes": ["a", "b", "c"], "vocab": WORDS, **extras}, tmp_path, answers=TEXT)


def test_a_dictionary_without_matrices_is_refused(tmp_path: Path) -> None:
    for saved in ({"mean": torch.ones(3), "epoch": 1}, {"stats": {"mean": torch.ones(3)}}, {"model": {}}):
        with pytest.raises(ForeignFileInvalid):
            bring(saved, tmp_path)


@pytest.mark.parametrize(
    ("extras", "vocabulary", "labels"),
    [
        ({"vocab": {"stoi": NUMBERED, "itos": WORDS}, "config": {"classes": ["a", "b", "c"]}},
         "vocab/stoi", "config/classes"),
        ({"text": {"itos": WORDS}, "meta": {"id2label": {0: "a", 1: "b", 2: "c"}}}, "text/itos", "meta/id2label"),
        ({"hparams": {"Vocab": WORDS, "class_to_idx": {"c": 2, "a": 0, "b": 1}}},
         "hparams/Vocab", "hparams/class_to_idx"),
    ],
    ids=["in two entries", "by index", "in one entry"],
)  # fmt: skip
@pytest.mark.parametrize("wrapper", ["net", "checkpoint/net"])
def test_vocabulary_and_labels_one_level_down(
    extras: Any, vocabulary: str, labels: str, wrapper: str, tmp_path: Path
) -> None:
    program = text_program()
    saved = {"net": program.state_dict(), **extras}
    assumed = bring({"checkpoint": saved} if "/" in wrapper else saved, tmp_path, answers=TEXT).assumed
    assert_equal(program, tmp_path, ids())
    assert json.loads((tmp_path / "out" / "labels.json").read_text()) == ["a", "b", "c"]
    prefix = wrapper.removesuffix("net")
    for line in (f"labels={prefix}{labels}", f"vocabulary={prefix}{vocabulary}"):
        assert f"{line}: taken from the file's entry with this name" in assumed


def test_entries_beside_a_used_entry_are_reported(tmp_path: Path) -> None:
    config = {"classes": ["a", "b", "c"], "hidden": 6, "epochs": 3}
    saved = {"net": text_program().state_dict(), "vocab": WORDS, "config": config, "other": {"x": 1}}
    assumed = bring(saved, tmp_path, answers=TEXT).assumed
    assert "ignored=config/hidden,other: the import ignores these entries of the file" in assumed


def test_the_file_s_own_labels_do_not_prevent_a_regression(tmp_path: Path) -> None:
    parts = {"lstm": nn.LSTM(4, 6, batch_first=True), "fc": nn.Linear(6, 1)}
    saved = {"net": Program(lambda m, x: x, **parts).state_dict(), "config": {"categories": ["a", "b", "c"]}}
    with pytest.raises(InvalidRequest, match=r"3 labels are in .*config/categories.* add --task regression"):
        bring(saved, tmp_path, answers={"pooling": "last"})
    answers = {"pooling": "last", "task": "regression"}
    assert bring(saved, tmp_path, answers=answers).checkpoint.config.task == "regression"


@pytest.mark.parametrize("key", ["stoi", "word2idx", "vocab"])
def test_a_vocabulary_inside_an_object_of_a_json_file(key: str, tmp_path: Path) -> None:
    program = text_program()
    (tmp_path / "words.json").write_text(json.dumps({key: NUMBERED, "size": 30}))
    bring(program, tmp_path, answers=TEXT, labels=["a", "b", "c"], vocabulary=tmp_path / "words.json")
    assert_equal(program, tmp_path, ids())
    assert Tokenizer.load(tmp_path / "out").encode("w3 new w0") == [5, 1, 2]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        ({"classes": ["a", "b"], "size": 2}, ["a", "b"]),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}, ["a", "b"]),
        ([0, 1], ["0", "1"]),
        ({"0": "a", "1": "b"}, ["a", "b"]),
        ({0: "a", 1: "b"}, ["a", "b"]),
        ({"b": 1, "a": 0}, ["a", "b"]),
        ({"0": ["n1", "a"], "1": ["n2", "b"]}, ["a", "b"]),
    ],
)
def test_labels(value: Any, expected: list[str]) -> None:
    assert label_names(value, "labels") == expected


@pytest.mark.parametrize("value", [[], {}, {"0": "a", "2": "b"}, {"a": 0, "b": 0}, {"a": True}, {"0": []}, [[]], "ab"])
def test_values_that_are_not_labels(value: Any) -> None:
    with pytest.raises(InvalidRequest, match="labels must be"):
        label_names(value, "labels")
